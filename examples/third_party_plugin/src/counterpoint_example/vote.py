"""The `vote` generator: the answer that most of several samples agree on."""

from __future__ import annotations

import re
from collections import Counter
from typing import Literal

from pydantic import Field

from counterpoint.plugin import (
    CandidateFinished,
    CandidateSelected,
    Completion,
    Emitted,
    Generator,
    NodePlan,
    Prompt,
    Ref,
    Run,
)


class Vote(Generator):
    """Self-consistency: several samples, and the first of those whose answer is the most frequent.

    Source: Wang et al. 2022 (arXiv 2203.11171).
    """

    kind: Literal["vote"] = "vote"
    generator: Ref[Generator] = Field(description="What makes the samples.")
    samples: int = Field(default=3, ge=2, le=64, description="Number of samples.")
    pattern: str = Field(
        default="",
        description="Regular expression whose last match in a sample is its answer; empty compares whole texts.",
    )

    def check(self, plan: NodePlan) -> None:
        try:
            re.compile(self.pattern)
        except re.error as error:
            plan.refuse(f"pattern is not a regular expression: {error}", "escape its special characters")
        if plan.sampling.greedy:
            plan.warn("greedy samples are all the same", "set a temperature above 0")

    async def generate(self, prompt: Prompt, run: Run) -> Completion:
        completions = await run.gather(*(run.generate(self.generator, prompt) for _ in range(self.samples)))
        for number, completion in enumerate(completions):
            run.emit(CandidateFinished(candidate=number, completion=completion))
        answers = [self.answer(completion.text) for completion in completions]
        winner, votes = Counter(answers).most_common(1)[0]
        number = answers.index(winner)
        run.emit(CandidateSelected(candidate=number, reason=f"{votes} of {self.samples} say {winner!r}"))
        chosen = completions[number]
        run.emit(Emitted(text=chosen.text, ids=chosen.ids, proposer=run.path_of(self.generator), decider=run.path))
        return chosen

    def answer(self, text: str) -> str:
        """What a sample votes for."""
        matches = re.findall(f"({self.pattern})", text) if self.pattern else []
        if not matches:
            return text.strip()
        last = matches[-1]
        return last if isinstance(last, str) else last[0]
