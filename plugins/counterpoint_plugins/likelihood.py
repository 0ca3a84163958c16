"""The verifiers `likelihood`, `mc2` and `bits_per_byte`: how probable answers are to a language model, those given or known ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from counterpoint.plugin import Completion, LanguageModel, Node, Prompt, Ref, Run, Score, Session, Verifier, hookimpl


class Likelihood(Verifier):
    """The mean log-probability (natural log) that a language model gives to the tokens of an answer: at most 0, high is good.

    Source: the ranker of Hassid et al., COLM 2024 ("The Larger the Better? Improved LLM Code-Generation via Budget Reallocation",
    arXiv 2404.00725): the length-averaged negative log-likelihood under a larger model, prompt excluded, samples cut at the length
    limit dropped; here with the sign turned. The text is scored after the prompt and its prefix, in the model's own tokens, the end
    of the turn not counted. All answers are forks of one session and share passes; equal ones are scored once.
    """

    kind: Literal["likelihood"] = "likelihood"
    model: Ref[LanguageModel] = Field(description="The language model that ranks.")
    normalize: Literal["tokens", "bytes", "none"] = Field(
        default="tokens",
        description="What the log-probability of an answer is divided by: its `tokens`, its `bytes` in UTF-8 (so that models of "
        "different vocabularies compare), or nothing (`none`; short answers then score high).",
    )
    cut: Literal["abstain", "score"] = Field(
        default="abstain",
        description="What becomes of an answer that was cut short, by length or budget: it abstains, or is scored like others.",
    )

    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[Score]:
        wanted = [None if self._silent(completion) else completion.text for completion in completions]
        texts = sorted(
            {text for text in wanted if text is not None}
        )  # so that passes do not depend on the order of the answers
        scores = dict(zip(texts, await self._scores(prompt, texts, run), strict=True)) if texts else {}
        return [
            Score(math.nan, self._silent(completion)) if text is None else scores[text]
            for text, completion in zip(wanted, completions, strict=True)
        ]

    def _silent(self, completion: Completion) -> str:
        """Why a completion is not scored; empty for one that is."""
        if self.cut == "abstain" and completion.finish_reason in ("length", "budget"):
            return f"cut short ({completion.finish_reason})"
        return "" if completion.text else "empty"

    async def _scores(self, prompt: Prompt, texts: Sequence[str], run: Run) -> list[Score]:
        session = await run.open(self.model, prompt)
        await session.logits()  # once, for all forks
        forks = await session.fork(len(texts))
        return await run.gather(*(self._score(fork, text) for fork, text in zip(forks, texts, strict=True)))

    async def _score(self, session: Session, text: str) -> Score:
        ids = session.tokenizer.encode(text)
        if not ids or session.length + len(ids) > session.room:
            session.close()
            return Score(math.nan, f"its {len(ids)} tokens do not fit the model's context" if ids else "empty")
        total = await _log_probability(session, ids)
        parts = {"tokens": len(ids), "bytes": len(text.encode()), "none": 1}[self.normalize]
        # minus infinity is what it is: no other answer is less probable
        detail = "impossible under the model" if math.isinf(total) else f"log p = {total:.2f}, {len(ids)} tokens"
        return Score(total / parts, detail)


class Mc2(Verifier):
    """The probability a language model gives to the right answers, out of that of all known ones: MC2 (0 to 1).

    Source: TruthfulQA (Lin, Hilton and Evans 2021, arXiv 2109.07958, section 3.1). With p the probability of an answer's tokens
    after the prompt, Σ p(right) / (Σ p(right) + Σ p(wrong)). Every answer counts once. Answers begin with a space unless what
    stands before them ends with white space or a control token. All answers are forks of one session and share passes.
    """

    kind: Literal["mc2"] = "mc2"
    requires: ClassVar[tuple[str, ...]] = ("correct_answers", "incorrect_answers")
    reads_answers: ClassVar[bool] = False
    model: Ref[LanguageModel] = Field(description="The language model to measure.")

    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[Score]:
        if not completions:
            return []
        right, wrong = (_texts(prompt.fields[name]) for name in self.requires)
        if not right or not wrong:
            return [Score(float("nan"), f"there is no {'wrong' if right else 'right'} answer")] * len(completions)
        session = await run.open(self.model, prompt)
        space = _space_before_answers(session)
        await session.logits()  # once, for all forks
        forks = await session.fork(len(right) + len(wrong))
        logprobs = await run.gather(
            *(
                _log_probability(fork, fork.tokenizer.encode(space + answer))
                for fork, answer in zip(forks, right + wrong, strict=True)
            )
        )
        return [_mass(logprobs, len(right))] * len(completions)


def _mass(logprobs: Sequence[float], right: int) -> Score:
    """The share of the first answers in the probability of all."""
    top = max(logprobs)
    if math.isinf(top):
        return Score(float("nan"), "no answer is possible")
    weights = [math.exp(value - top) for value in logprobs]
    best = logprobs.index(top)
    of = (
        f"right answer {best + 1} of {right}" if best < right else f"wrong answer {best - right + 1} of {len(logprobs) - right}"
    )
    return Score(math.fsum(weights[:right]) / math.fsum(weights), f"most probable: {of} (log₂ p = {top / math.log(2):.1f})")


async def _log_probability(session: Session, ids: Sequence[int]) -> float:
    """Natural log of the probability of tokens; the session is given back at once."""
    try:
        return math.fsum((await session.score(ids)).tolist())
    finally:
        session.close()


def _space_before_answers(session: Session) -> str:
    """What joins an answer to the rendered prompt and its prefix: a chat header or a line break asks for nothing."""
    before = session.prompt_ids + session.prefix_ids
    if not before or before[-1] in session.tokenizer.special_ids:
        return ""
    text = session.tokenizer.decode(before)
    return "" if not text or text[-1].isspace() else " "


class BitsPerByte(Verifier):
    """How many bits per byte a language model needs for the first reference (lower is better).

    −Σ log₂ p(token | prompt, tokens before) / bytes of the text in UTF-8. Bytes, not tokens, so that models with different
    vocabularies compare. The figure of an evaluation is all bits over all bytes. The text is taken as it stands: after a raw
    prompt it brings its own leading space. The end of the turn is not counted. Without a reference the scorer abstains.
    """

    kind: Literal["bits_per_byte"] = "bits_per_byte"
    requires: ClassVar[tuple[str, ...]] = ("references",)
    lower_is_better: ClassVar[bool] = True
    reads_answers: ClassVar[bool] = False
    model: Ref[LanguageModel] = Field(description="The language model to measure.")

    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[Score]:
        if not completions:
            return []
        references = _texts(prompt.fields["references"])
        if not references:
            return [Score(float("nan"), "there is no reference")] * len(completions)
        session = await run.open(self.model, prompt)
        size = len(references[0].encode())
        bits = -await _log_probability(session, session.tokenizer.encode(references[0])) / math.log(2)
        if math.isinf(bits):
            return [Score(float("nan"), "the reference is impossible under the model")] * len(completions)
        return [Score(bits / size, f"{bits:.1f} bits, {size} bytes", {"bits": bits, "bytes": size})] * len(completions)

    def overall(self, scores: Sequence[Score], texts: Sequence[str]) -> float:
        """All bits over all bytes."""
        return math.fsum(score.data["bits"] for score in scores) / math.fsum(score.data["bytes"] for score in scores)


def _texts(value: Any) -> list[str]:
    given = [value] if isinstance(value, str) else value or ()
    return list(dict.fromkeys(text for text in given if isinstance(text, str) and text.strip()))


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    """The `likelihood`, `mc2` and `bits_per_byte` nodes."""
    return [Likelihood, Mc2, BitsPerByte]
