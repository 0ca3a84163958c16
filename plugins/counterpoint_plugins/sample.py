"""The `sample` generator: plain decoding of one language model, greedy or sampled."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from counterpoint.plugin import Completion, Generator, LanguageModel, Node, Prompt, Ref, Response, Run, hookimpl


class Sample(Generator):
    """Draws one token after another from a language model.

    A language model that stands where a generator is expected is wrapped in this.
    """

    kind: Literal["sample"] = "sample"
    adapts: ClassVar[str | None] = "model"
    model: Ref[LanguageModel] = Field(description="The language model to sample from.")

    async def generate(self, prompt: Prompt, run: Run) -> Completion:
        session = await run.open(self.model, prompt)
        return await Response(run, session, run.sampling).sample()


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    """The `sample` node."""
    return [Sample]
