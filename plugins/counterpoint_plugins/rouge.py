"""The verifiers `rouge_l` and `rouge_truth_proxy`: the longest common subsequence with known answers, by the package rouge-score."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from counterpoint.plugin import Completion, Node, NodePlan, Prompt, Run, Score, Unsupported, Verifier, hookimpl

_MISSING = "scores by the package rouge-score, which is not installed"
_HINT = "pip install 'counterpoint[eval]'"


class _Rouge(Verifier):
    """What both have in common: the package and its stemmer."""

    stemmer: bool = Field(default=False, description="Whether words count as their stems (Porter), as ROUGE-1.5.5 -m does.")

    def check(self, plan: NodePlan) -> None:
        if importlib.util.find_spec("rouge_score") is None:
            plan.refuse(_MISSING, _HINT)

    def measure(self, path: str) -> Callable[[str, str], float | None]:
        """A function from a known answer and a text to their ROUGE-L F1; None where the known answer has no word.

        Raises:
            Unsupported: the package rouge-score is not installed.
        """
        try:
            from rouge_score import rouge_scorer, tokenizers
        except ModuleNotFoundError as error:
            if error.name != "rouge_score":
                raise
            raise Unsupported(f"{path}: {_MISSING}", hint=_HINT) from None
        words = tokenizers.DefaultTokenizer(self.stemmer)
        scorer = rouge_scorer.RougeScorer(["rougeL"], tokenizer=words)

        def f1(known: str, text: str) -> float | None:
            return float(scorer.score(known, text)["rougeL"].fmeasure) if words.tokenize(known) else None

        return f1

    def best(self, known: Sequence[str], text: str, f1: Callable[[str, str], float | None]) -> tuple[float, int] | None:
        """The best ROUGE-L over known answers, and which of them it is; None where none can be compared."""
        found = [(value, -index) for index, one in enumerate(known) if (value := f1(one, text)) is not None]
        if not found:
            return None
        value, index = max(found)
        return value, -index


class RougeL(_Rouge):
    """ROUGE-L of an answer and the most similar reference: F1 of the longest common subsequence of words (0 to 1).

    Source: Lin 2004, section 3, as the package rouge-score computes it: words are runs of the letters a to z and digits, case
    does not count. Without a reference that has such words, the scorer abstains.
    """

    kind: Literal["rouge_l"] = "rouge_l"
    requires: ClassVar[tuple[str, ...]] = ("references",)

    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[Score]:
        references = _texts(prompt.fields["references"])

        def work() -> list[Score]:
            f1 = self.measure(run.path)
            return [self._score(references, completion.text, f1) for completion in completions]

        return await run.thread(work)  # the first call imports the package, and long texts take their time

    def _score(self, references: list[str], text: str, f1: Callable[[str, str], float | None]) -> Score:
        best = self.best(references, text, f1)
        if best is None:
            return Score(float("nan"), "there is no reference with words of the letters a to z")
        return Score(best[0], f"reference {best[1] + 1} of {len(references)}" if len(references) > 1 else "")


class RougeTruthProxy(_Rouge):
    """A proxy of truthfulness: ROUGE-L with the most similar right answer less that with the most similar wrong one (−1 to 1).

    Source: the `rougeL diff` of TruthfulQA (Lin, Hilton and Evans 2021, arXiv 2109.07958, appendix B). It measures likeness in
    words, not truth: a right answer in other words scores low. Where a side has no words to compare with, it abstains.
    """

    kind: Literal["rouge_truth_proxy"] = "rouge_truth_proxy"
    requires: ClassVar[tuple[str, ...]] = ("correct_answers", "incorrect_answers")

    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[Score]:
        right, wrong = (_texts(prompt.fields[name]) for name in self.requires)

        def work() -> list[Score]:
            f1 = self.measure(run.path)
            return [self._score(right, wrong, completion.text, f1) for completion in completions]

        return await run.thread(work)

    def _score(self, right: list[str], wrong: list[str], text: str, f1: Callable[[str, str], float | None]) -> Score:
        good, bad = self.best(right, text, f1), self.best(wrong, text, f1)
        if good is None or bad is None:
            side = "right" if good is None else "wrong"
            return Score(float("nan"), f"there is no {side} answer with words of the letters a to z")
        return Score(good[0] - bad[0], f"{good[0]:.2f} like a right answer, {bad[0]:.2f} like a wrong one")


def _texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [text for text in value or () if isinstance(text, str)]


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    """The `rouge_l` and `rouge_truth_proxy` nodes."""
    return [RougeL, RougeTruthProxy]
