"""Models with an encoder in the engine: what is read once and shared, what it costs, and a cache that is too small for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest

import counterpoint as cp
from counterpoint import slots
from counterpoint.cli import main
from counterpoint.events import Forward
from counterpoint.plugin import Backend, EncoderShape, ModelFacts, Node, Resources, Step, StepResult, hookimpl
from counterpoint.registry import load_plugins
from counterpoint.testing import FakeModel, assert_generator_laws, assert_session_laws, fake, make_engine
from counterpoint.testing.fake import FakeBackend

PROMPTS = ["hello there", "what is a fugue", "what is a canon", "b"]
ENCODER = EncoderShape(parameters=500, layers=1, heads=2, head_dim=4)


class ReadingBackend(FakeBackend):
    """The fake model, whose distributions depend on a prompt that it is given once."""

    def __init__(self, node: FakeModel) -> None:
        super().__init__(node)
        self.start_ids = (self.tokenizer.size - 1,)
        self.shape = replace(self.shape, encoder=ENCODER)
        self.read: list[tuple[int, ...]] = []
        self._prompts: dict[int, int] = {}

    def forward(self, steps: Sequence[Step]) -> list[StepResult]:
        self._want_room(sum(len(step.ids) + len(step.prompt) for step in steps))
        before = {step.slot: list(self._slots[step.slot]) for step in steps}
        for step in steps:
            if step.prompt:
                assert step.slot not in self._prompts, "given once"
                self._slots[step.slot] = list(step.prompt)
            assert step.slot in self._prompts or step.prompt, "given with the first tokens"
        try:
            results = super().forward(steps)
        except RuntimeError:
            self._slots |= before
            raise
        for step in steps:
            if step.prompt:
                self._prompts[step.slot] = len(step.prompt)
                self.read.append(tuple(step.prompt))
        return results

    def truncate(self, slot: int, length: int) -> None:
        super().truncate(slot, self._prompts.get(slot, 0) + length)

    def copy(self, slot: int, length: int) -> int:
        new = super().copy(slot, self._prompts[slot] + length)
        self._prompts[new] = self._prompts[slot]
        return new

    def free(self, slot: int) -> None:
        super().free(slot)
        self._prompts.pop(slot, None)


class Reader(FakeModel):
    """A fake model with an encoder."""

    kind: Literal["reader"] = "reader"  # type: ignore[assignment]

    def inspect(self, resources: Resources) -> ModelFacts:
        found = super().inspect(resources)
        assert found.shape is not None
        return replace(found, key=f"reader {found.key}", shape=replace(found.shape, encoder=ENCODER))

    def load(self, resources: Resources) -> Backend:
        return ReadingBackend(self)


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    return [Reader]


PLUGIN = SimpleNamespace(__name__="readers", counterpoint_nodes=counterpoint_nodes)


def model(**fields: Any) -> dict[str, Any]:
    return {"kind": "reader", "end_bias": -99, "memory": 9999, "prompt_format": "raw", **fields}


def recipe(**fields: Any) -> dict[str, Any]:
    nodes = {"m": model(**fields), "d": model(blur=1.0, **fields)}
    nodes["s"] = {"kind": "speculative", "target": "m", "draft": "d", "adaptive": False, "max_draft": 3}
    return {"nodes": nodes, "output": "s", "sampling": {"temperature": 0.8, "max_tokens": 20}}


def engine(stage: Any = None) -> cp.Engine:
    return make_engine([PLUGIN] if stage is None else [PLUGIN, stage.plugin])


def backend(engine: cp.Engine) -> Any:
    (host,) = engine.hosts()
    return host.backend


def forwards(result: cp.RunResult) -> list[Forward]:
    return [event for event in result.trace if isinstance(event, Forward)]


def test_the_laws_hold() -> None:
    assert_session_laws({"nodes": {"m": model()}, "output": "m"}, [3, 1, 4, 1, 5, 9, 2, 6], plugins=[PLUGIN])
    prompt = {"text": "a prompt", "prefix": "a start"}
    assert_session_laws({"nodes": {"m": model()}, "output": "m"}, [3, 1, 4, 1, 5, 9], prompt=prompt, plugins=[PLUGIN])
    assert_generator_laws(recipe(), plugins=[PLUGIN])


def test_a_prompt_is_read_once_whatever_is_rolled_back(stage: Any) -> None:
    @stage.action
    async def back(node: Any, run: Any, prompt: Any) -> None:
        session = await run.open(node.model, prompt)
        first = await session.logits()
        await session.extend([1, 2, 3], rows="all")
        session.rollback(0)
        assert (await session.logits()).tolist() == first.tolist()
        for fork in await session.fork(3):
            assert (await fork.logits()).tolist() == first.tolist()
        assert session.room == 2047, "the prompt is elsewhere"

    with engine(stage) as made:
        result = made.run(
            {"nodes": {"m": model(), "s": {"kind": "script", "action": "back", "model": "m"}}, "output": "s"}, "hello"
        )
        assert len(backend(made).read) == 1
        assert sum(event.tokens for event in forwards(result) if event.prefill) == len("hello") + 1 + 1, (
            "the start is fed again"
        )


def test_samples_share_what_is_read_and_prompts_that_differ_share_nothing() -> None:
    plain = {**recipe(), "output": "m"}
    with engine() as made:
        made.run_many(plain, PROMPTS, samples=4)
        assert sorted(backend(made).read) == sorted(tuple(backend(made).tokenizer.encode(prompt)) for prompt in PROMPTS)
        together = made.run(plain, "what is a cat").completion
    with engine() as alone:
        assert alone.run(plain, "what is a cat").completion == together


def test_what_is_read_is_paid_for() -> None:
    with engine() as made:
        result = made.run({**recipe(), "output": "m"}, "hello")
        shape = backend(made).shape
    first, second, *_ = forwards(result)
    assert (first.tokens, first.context, first.prefill) == (6, 25 + 6, True)
    assert first.flops == shape.flops(1, 6, 1) + ENCODER.flops(5) == shape.flops(1, 6, 1, 5)
    assert (second.tokens, second.context, second.flops) == (1, 7, shape.flops(1, 7, 1))
    assert ENCODER.flops(5) == 2 * 500 * 5 + 4 * 1 * 2 * 4 * 25


def test_plan_tells_what_reading_costs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    file = tmp_path / "reads.yaml"
    file.write_text("nodes: {m: {kind: reader}}\noutput: m\n")
    assert main(["plan", str(file), "hello"], registry=load_plugins([fake, PLUGIN])) == 0
    assert "11 kFLOP, of a prompt 9.2 kFLOP" in capsys.readouterr().out


def test_parked_prompts_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "PARKED_TOKENS", 59)
    with engine() as made:
        for prompt in ("x" * 25, "y" * 25, "z" * 25):
            made.run({**recipe(), "output": "m"}, prompt, sampling=cp.Sampling(max_tokens=5))
        (host,) = made.hosts()
        assert len(host.table.parked) == 1


def test_long_prompts_do_not_share_a_pass() -> None:
    with engine() as made:
        results = made.run_many(
            {**recipe(), "output": "m"}, ["x" * 800, "y" * 800, "z" * 1500], sampling=cp.Sampling(max_tokens=3)
        )
        assert [result.error for result in results] == [None] * 3
        reading = [event.pass_id for result in results for event in forwards(result) if event.prefill]
        assert len(set(reading)) == 3


@pytest.fixture(scope="module")
def expected() -> list[Any]:
    with engine() as made:
        return [result.completion for result in made.run_many(recipe(), PROMPTS, samples=3)]


@pytest.mark.parametrize(("cache", "rows"), [(75, 8), (130, 2), (300, 1)])
def test_any_size_of_cache_gives_the_same_tokens(expected: list[Any], cache: int, rows: int) -> None:
    with engine() as made:
        results = made.run_many(recipe(cache=cache, rows=rows), PROMPTS, samples=3)
        assert [result.error for result in results] == [None] * 12
        assert [result.completion for result in results] == expected
        for host in made.hosts():
            assert host.slots == host.pending == 0


def test_a_pass_that_fails_reads_nothing() -> None:
    with engine() as made:
        failed = made.run_many({**recipe(fails_after=2), "output": "m"}, ["hello", "there"])
        assert all(isinstance(result.error, cp.ModelError) for result in failed)
        again = made.run_many({**recipe(fails_after=2), "output": "m"}, ["hello"])
        assert isinstance(again[0].error, cp.ModelError)
        assert "told to fail" in again[0].error.message
