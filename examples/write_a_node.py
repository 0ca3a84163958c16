"""A node of your own in one file, with no package around it, placed on top of any recipe.

    python examples/write_a_node.py [RECIPE]

`refine` answers, then asks the same generator for a better answer. It is written for one prompt; the engine batches.
"""

from __future__ import annotations

import sys
from typing import Literal

from pydantic import Field

import counterpoint as cp
from counterpoint.plugin import Completion, Generator, Node, Note, Prompt, Ref, Run, Sampling, hookimpl


class Refine(Generator):
    """Has a generator improve its own answer."""

    kind: Literal["refine"] = "refine"
    generator: Ref[Generator] = Field(description="What answers, and then answers better.")
    rounds: int = Field(default=1, ge=1, le=8, description="How many improvements to ask for.")
    request: str = Field(default="Improve your answer. Reply with the better answer only.", description="How to ask.")

    async def generate(self, prompt: Prompt, run: Run) -> Completion:
        messages = prompt.chat()
        answer = await run.generate(self.generator, prompt)
        for number in range(1, self.rounds + 1):
            run.emit(Note(name="refine", data={"round": number, "before": answer.text}))
            messages += [{"role": "assistant", "content": answer.text}, {"role": "user", "content": self.request}]
            # The last answer is relayed, that is, emitted as this node's own while it comes.
            answer = await run.generate(self.generator, Prompt.of(messages), relay=number == self.rounds)
        return answer


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    """What this file brings, were it a module named by an entry point."""
    return [Refine]


def main(recipe: str = "speculative") -> None:
    """Puts `refine` on top of a recipe and shows the answer before and after."""
    registry = cp.load_plugins(extra=[sys.modules[__name__]])  # the installed plugins, and this file
    with cp.Engine(registry=registry) as engine:
        below = engine.recipe(recipe).to_dict()
        below["nodes"]["refine"] = {"kind": "refine", "generator": below["output"]}
        below["output"] = "refine"
        stream = engine.stream(below, "Write one sentence about rain.", sampling=Sampling(max_tokens=40))
        for event in stream:
            if event.type == "note" and event.name == "refine":
                print(f"before: {event.data['before'].strip()}")
        print(f"after:  {stream.result().text.strip()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
