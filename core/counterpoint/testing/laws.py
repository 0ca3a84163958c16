"""The laws of the roles, as assertions for any implementation."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Literal, TypeVar

import torch

from counterpoint.engine import Engine
from counterpoint.errors import Unsupported
from counterpoint.events import Emitted, RunFinished
from counterpoint.hooks import hookimpl
from counterpoint.node import Drafter, Generator, LanguageModel, Node, Ref, Verifier
from counterpoint.prompt import Completion, Prompt
from counterpoint.registry import load_plugins
from counterpoint.running import Run
from counterpoint.session import Session
from counterpoint.settings import Sampling
from counterpoint.testing import fake

T = TypeVar("T")


def make_engine(plugins: Iterable[object] = (), **options: Any) -> Engine:
    """An engine with the installed plugins, the fake model, and ``plugins``; options as for :class:`Engine`."""
    options.setdefault("store", object())
    return Engine(registry=load_plugins([fake, *plugins]), **options)


class _Probe(Generator):
    """Runs a test's coroutine inside a run."""

    kind: Literal["test_probe"] = "test_probe"
    model: Ref[LanguageModel] | None = None
    drafter: Ref[Drafter] | None = None
    verifier: Ref[Verifier] | None = None

    async def generate(self, prompt: Prompt, run: Run) -> Completion:
        await _Probing.current(self, prompt, run)
        return run.completion("stop")


class _Probing:
    current: Callable[[_Probe, Prompt, Run], Awaitable[None]]

    @staticmethod
    def counterpoint_nodes() -> list[type[Node]]:
        return [_Probe]


_Probing.counterpoint_nodes = hookimpl(_Probing.counterpoint_nodes)  # type: ignore[method-assign]


def _probe(
    recipe: Mapping[str, Any],
    fields: Mapping[str, str],
    plugins: Iterable[object],
    engine: Engine | None,
    probe: Callable[[_Probe, Prompt, Run], Awaitable[None]],
    prompt: Any,
) -> None:
    given = {**recipe, "nodes": {**recipe["nodes"], "test_probe": {"kind": "test_probe", **fields}}}
    given["output"] = "test_probe"
    _Probing.current = staticmethod(probe)
    if engine is not None:
        if "test_probe" not in engine.registry._kinds:
            engine.registry._add(_Probe, "test_probe")
        engine.run(given, prompt)
        return
    with make_engine([*plugins, _Probing]) as own:
        own.run(given, prompt)


def assert_session_laws(
    recipe: Mapping[str, Any],
    ids: list[int],
    *,
    prompt: Any = "hello there",
    plugins: Iterable[object] = (),
    engine: Engine | None = None,
    tolerance: float = 1e-4,
) -> None:
    """Asserts the session laws for the LanguageModel that is ``recipe``'s output.

    extend-then-rollback equals never-extended; chunked equals one-shot; forked and batched equal separate; ``score`` agrees with
    the rows; a row is to be had at every length. Where there are hidden states, they depend on the response alone, too.

    Args:
        recipe: plain data of a recipe whose output is a LanguageModel.
        ids: at least six tokens of its vocabulary.
        prompt: the prompt to open sessions on.
        plugins: plugins it needs besides the installed ones.
        engine: an engine to use (and keep) instead of one of its own.
        tolerance: largest difference between log-probabilities.
    """
    assert len(ids) >= 6, "the laws need six tokens to be told apart"

    def same(left: torch.Tensor, right: torch.Tensor, law: str) -> None:
        a, b = torch.log_softmax(left, -1), torch.log_softmax(right, -1)
        assert a.shape == b.shape, f"{law}: shapes {tuple(a.shape)} and {tuple(b.shape)}"
        assert torch.equal(a.isneginf(), b.isneginf()), f"{law}: different tokens are impossible"
        worst = (a - b).nan_to_num(0.0).abs().max().item() if a.numel() else 0.0
        assert worst <= tolerance, f"{law}: log-probabilities differ by {worst:.2e}"

    async def probe(node: _Probe, prompt: Prompt, run: Run) -> None:
        assert node.model is not None
        session = await run.open(node.model, prompt)
        start = len(session.prefix_ids)
        assert session.length == start, "a session starts with the prompt's prefix as its response"
        first = await session.logits()
        assert first.shape == (session.tokenizer.size,), "a row has one logit per token of the tokenizer"
        all_rows = await session.extend(ids, rows="all")
        assert all_rows.shape == (len(ids), session.tokenizer.size)
        expected = torch.cat([first[None], all_rows])
        assert session.length == start + len(ids)

        for length in (len(ids), 3, 3, 0):
            session.rollback(start + length)
            assert session.length == start + length
            same((await session.logits())[None], expected[length : length + 1], f"the row after rolling back to {length}")
        session.rollback(0)
        await session.extend(session.prefix_ids, rows="none")
        same((await session.logits())[None], expected[:1], "the row after rolling back to nothing and feeding the prefix")
        session.rollback(start)
        await session.extend(ids[:2], rows="none")
        await session.extend([ids[4], ids[5]], rows="last")
        session.rollback(start + 2)
        rest = await session.extend(ids[2:], rows="all")
        same(rest, expected[3:], "extend-then-rollback equals never-extended")

        chunked = await run.open(node.model, prompt)
        rows = [await chunked.extend(ids[i : i + 2], rows="all") for i in range(0, len(ids), 2)]
        same(torch.cat(rows), expected[1:], "chunked equals one-shot")

        base = await run.open(node.model, prompt)
        await base.extend(ids[:3], rows="none")
        twins = await base.fork(2)
        tails = [ids[3:], list(reversed(ids[3:]))]
        both = await run.gather(*(twin.extend(tail, rows="all") for twin, tail in zip(twins, tails, strict=True)))
        same(both[0], expected[4:], "forked and batched equal separate")
        assert base.length == start + 3, "a fork leaves its origin as it was"
        alone = await run.open(node.model, prompt)
        await alone.extend(ids[:3], rows="none")
        same(both[1], await alone.extend(tails[1], rows="all"), "forked and batched equal separate")
        same((await base.logits())[None], expected[3:4], "a fork leaves its origin as it was")

        scored = await run.open(node.model, prompt)
        scores = await scored.score(ids)
        wanted = torch.log_softmax(expected[:-1], -1)[torch.arange(len(ids)), torch.tensor(ids)]
        assert scores.shape == (len(ids),)
        assert torch.allclose(scores, wanted, atol=tolerance), "score agrees with the rows"
        assert scored.length == start + len(ids), "score extends the session"
        same((await scored.logits())[None], expected[-1:], "the row after scoring")

        seen = await run.open(node.model, prompt)
        try:
            states = await seen.hidden(ids, rows="all")
        except Unsupported:
            pass
        else:
            assert states.shape[0] == len(ids), "a hidden state for every token"
            assert seen.length == start + len(ids), "hidden extends the session"
            same((await seen.logits())[None], expected[-1:], "the row after hidden states")
            seen.rollback(start + 2)
            await seen.extend(ids[2:4], rows="none")
            (twin,) = await seen.fork(1)
            last, row = await run.gather(twin.hidden(ids[4:]), seen.extend(ids[4:]))
            same(row, expected[-1:], "logits beside hidden states of another row")
            assert torch.allclose(last, states[-1:], atol=tolerance), "hidden states in a fork equal separate"

        for length in (-1, start + len(ids) + 1):
            try:
                session.rollback(length)
            except ValueError:
                continue
            raise AssertionError(f"rolling back to {length} of {session.length} is refused")
        session.close()
        session.close()

    _probe(recipe, {"model": recipe["output"]}, plugins, engine, probe, prompt)


def assert_generator_laws(
    recipe: Mapping[str, Any],
    *,
    prompts: Iterable[Any] = ("hello there", "what is a fugue", "a"),
    plugins: Iterable[object] = (),
    engine: Engine | None = None,
    temperature: float = 0.8,
    max_tokens: int = 24,
) -> None:
    """Asserts the generator laws for the Generator that is ``recipe``'s output.

    The emitted text, joined, is the completion; the same seed gives the same tokens; several prompts in flight give the tokens
    of one at a time; names of nodes change nothing; limits are kept; nothing stays open.
    """
    owned = engine is None
    engine = engine or make_engine(plugins)
    prompts = list(prompts)
    sampling = Sampling(temperature=temperature, max_tokens=max_tokens)
    try:
        alone = [engine.run(recipe, prompt, seed=7, sampling=sampling) for prompt in prompts]
        for result in alone:
            emitted = [event for event in result.trace if isinstance(event, Emitted) and event.span == 1]
            assert "".join(event.text for event in emitted) == result.text, "the emitted text is the completion"
            assert len(result.completion.ids) <= max_tokens, "max_tokens is kept"
            assert isinstance(result.trace[-1], RunFinished), "a run ends with RunFinished"
            assert [event.seq for event in result.trace] == list(range(len(result.trace))), "events are numbered"
        again = engine.run_many(recipe, prompts, seed=7, sampling=sampling)
        for one, other in zip(alone, again, strict=True):
            assert other.error is None, other.error
            assert one.completion == other.completion, "in flight together equals one at a time"
        renamed = engine.run(_renamed(recipe), prompts[0], seed=7, sampling=sampling)
        assert renamed.completion == alone[0].completion, "names change nothing"
        for host in engine.hosts():
            assert host.slots == 0, "sessions are closed when the run ends"
            assert host.pending == 0, "no request is left behind"
    finally:
        if owned:
            engine.close()


def _renamed(recipe: Mapping[str, Any]) -> dict[str, Any]:
    names = {name: f"other_{name}" for name in recipe["nodes"]}

    def rename(value: Any) -> Any:
        if isinstance(value, str):
            return names.get(value, value)
        if isinstance(value, Mapping):
            return {key: item if key == "kind" else rename(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [rename(item) for item in value]
        return value

    nodes = {names[name]: rename(node) for name, node in recipe["nodes"].items()}
    return {**recipe, "nodes": nodes, "output": names[recipe["output"]]}


def assert_drafter_laws(
    recipe: Mapping[str, Any],
    target: str,
    *,
    prompt: Any = "hello there hello there",
    plugins: Iterable[object] = (),
    engine: Engine | None = None,
    rounds: int = 6,
) -> None:
    """Asserts the drafter laws for the Drafter that is ``recipe``'s output, beside the model called ``target``.

    Drafts stay within their limit and the target's vocabulary; confidences fit; after any acceptance or rejection the next draft
    is what a fresh drafter would propose.
    """

    async def probe(node: _Probe, prompt: Prompt, run: Run) -> None:
        assert node.drafter is not None
        assert node.model is not None
        session: Session = await run.open(node.model, prompt)
        working = await run.draft(node.drafter, prompt, session)
        response = list(session.prefix_ids)
        for turn in range(rounds):
            limit = 1 + turn % 4
            draft = await working.propose(response, limit, lambda _: True)
            assert len(draft.ids) <= limit, "a draft keeps its limit"
            assert all(0 <= token < session.tokenizer.size for token in draft.ids), "draft tokens are the target's"
            assert len(draft.confidence) in (0, len(draft.ids)), "one confidence per token, or none"
            assert all(0 <= value <= 1 + 1e-6 and not math.isnan(value) for value in draft.confidence)
            fresh = await run.draft(node.drafter, prompt, session)
            other = await fresh.propose(response, limit, lambda _: True)
            assert other.ids == draft.ids, "a draft depends on what stands, not on what was proposed before"
            fresh.close()
            kept = draft.ids[: turn % (len(draft.ids) + 1)]
            response.extend(kept)
            response.append((turn * 5 + 1) % (session.tokenizer.size - 1))
        working.close()

    _probe(recipe, {"drafter": recipe["output"], "model": target}, plugins, engine, probe, prompt)


def assert_verifier_laws(
    recipe: Mapping[str, Any],
    texts: list[str],
    *,
    prompt: Any = "hello there",
    plugins: Iterable[object] = (),
    engine: Engine | None = None,
) -> None:
    """Asserts the verifier laws for the Verifier that is ``recipe``'s output: one score per completion, the same whether
    completions are scored together or apart, none for none. For one that compares completions with one another: the same in
    whatever order they are given."""

    def same(left: float, right: float) -> bool:
        return (math.isnan(left) and math.isnan(right)) or math.isclose(left, right, rel_tol=1e-4, abs_tol=1e-5)

    async def probe(node: _Probe, prompt: Prompt, run: Run) -> None:
        assert node.verifier is not None
        completions = [Completion(text=text, finish_reason="stop") for text in texts]
        together = await run.verify(node.verifier, prompt, completions)
        assert len(together) == len(completions), "one score per completion"
        verifier = run._state.graph.target(node.verifier, Verifier)[1]
        assert isinstance(verifier, Verifier)
        if verifier.compares:
            for order in (list(reversed(range(len(texts)))), [*range(1, len(texts)), 0][: len(texts)]):
                scores = await run.verify(node.verifier, prompt, [completions[index] for index in order])
                for index, score in zip(order, scores, strict=True):
                    assert same(score, together[index]), "the order of completions changes no score"
        else:
            for completion, score in zip(completions, together, strict=True):
                (alone,) = await run.verify(node.verifier, prompt, [completion])
                assert same(alone, score), "scored together equals scored alone"
        assert await run.verify(node.verifier, prompt, []) == [], "no completions, no scores"

    _probe(recipe, {"verifier": recipe["output"]}, plugins, engine, probe, prompt)
