"""Verifiers that score by what an answer says, so that every figure is known."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import pytest

from counterpoint.plugin import (
    Backend,
    Completion,
    ModelError,
    Node,
    Prompt,
    Resources,
    Run,
    RunError,
    Score,
    Verifier,
    hookimpl,
)
from counterpoint.testing import FakeModel, make_engine


class Says(Verifier):
    """The number that an answer is; blank ones abstain, `broken` breaks the verifier."""

    kind: Literal["says"] = "says"
    asked: ClassVar[list[str]] = []
    """Every answer that has been scored."""
    most: ClassVar[int] = 0
    """Most calls at once."""
    now: ClassVar[int] = 0
    gate: ClassVar[threading.Event | None] = None
    """What calls wait for."""

    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[Score]:
        kind = type(self)
        kind.now += 1
        kind.most = max(kind.most, kind.now)
        try:
            if kind.gate is not None:
                await run.thread(kind.gate.wait, 30)
            return [self._score(completion.text) for completion in completions]
        finally:
            kind.now -= 1

    def _score(self, text: str) -> Score:
        type(self).asked.append(text)
        if text == "broken":
            raise RunError("it broke", hint="mend it")
        return Score(float(text), f"says {text}") if text.strip() else Score(float("nan"), "says nothing")


class SaysLess(Says):
    """The same, and less is better."""

    kind: Literal["says_less"] = "says_less"  # type: ignore[assignment]
    lower_is_better: ClassVar[bool] = True


class Knows(Verifier):
    """Whether an answer is that in the column `known`."""

    kind: Literal["knows"] = "knows"
    requires: ClassVar[tuple[str, ...]] = ("known",)

    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[float]:
        assert set(prompt.fields) == {"known"}, "nothing else is seen"
        return [float(completion.text == prompt.fields["known"]) for completion in completions]


class Alike(Verifier):
    """How many of the answers are the same."""

    kind: Literal["alike"] = "alike"
    compares: ClassVar[bool] = True

    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[float]:
        texts = [completion.text for completion in completions]
        if "broken" in texts:
            raise RunError("it broke")
        return [float(texts.count(text)) for text in texts]


class Dice(Verifier):
    """A number drawn for each answer."""

    kind: Literal["dice"] = "dice"

    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[float]:
        return [float(run.seed % 1000) + index for index, _ in enumerate(completions)]


class Torn(FakeModel):
    """A model whose weights cannot be read."""

    kind: Literal["torn"] = "torn"  # type: ignore[assignment]

    def load(self, resources: Resources) -> Backend:
        raise ModelError("its weights are torn", hint="fetch them again")


class Scorers:
    """The plugin that brings them."""

    __name__ = "scorers"

    @hookimpl
    def counterpoint_nodes(self) -> list[type[Node]]:
        return [Says, SaysLess, Knows, Alike, Dice, Torn]


@pytest.fixture(autouse=True)
def says() -> type[Says]:
    for kind in (Says, SaysLess):
        kind.asked, kind.most, kind.now, kind.gate = [], 0, 0, None
    return Says


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    with make_engine([Scorers()]) as made:
        yield made
        for host in made.hosts():
            assert host.slots == 0, "a session was left open"
