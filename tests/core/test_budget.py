"""Budgets: no pass beyond the limit is started, what has been made is kept, and allowances nest."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from counterpoint import Budget, BudgetError, Engine, RecipeError, RunError
from counterpoint.events import BudgetSpent, Emitted, Forward, NodeFinished
from counterpoint.testing.fake import FakeBackend

MODEL = {"kind": "fake", "end_bias": -99, "prompt_format": "raw"}
PLAIN = {"nodes": {"m": MODEL}, "output": "m", "sampling": {"temperature": 1.0, "max_tokens": 60}}


def flops(result: Any) -> float:
    return sum(event.flops for event in result.trace if isinstance(event, Forward))


def spent(result: Any) -> list[BudgetSpent]:
    return [event for event in result.trace if isinstance(event, BudgetSpent)]


def with_script(action: str, **fields: Any) -> dict[str, Any]:
    script = {"kind": "script", "action": action, "children": {"a": "m", "b": "m"}, **fields}
    return {**PLAIN, "nodes": {"m": MODEL, "s": script}, "output": "s"}


# --- one run ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 7, 59])
def test_tokens(engine: Engine, limit: int) -> None:
    result = engine.run(PLAIN, "hello", budget=Budget(tokens=limit))
    whole = engine.run(PLAIN, "hello")
    assert result.finish_reason == "budget"
    assert result.completion.ids == whole.completion.ids[:limit]
    assert whole.text.startswith(result.text)
    (event,) = spent(result)
    assert (event.unit, event.limit, event.spent, event.needed) == ("tokens", limit, limit, 1)
    assert result.error is None


def test_a_budget_that_is_just_enough(engine: Engine) -> None:
    whole = engine.run(PLAIN, "hello")
    exact = engine.run(PLAIN, "hello again")
    for budget in (Budget(tokens=60), Budget(flops=flops(exact) * (1 + 1e-9)), Budget(seconds=1000)):
        result = engine.run(PLAIN, "hello again" if budget.flops else "hello", budget=budget)
        assert result.finish_reason == "length"
        assert not spent(result)
    assert whole.finish_reason == "length"


def test_flops(engine: Engine) -> None:
    whole = engine.run(PLAIN, "a first prompt")
    for share, letter in ((0.35, "b"), (0.5, "c"), (0.97, "d")):
        limit = flops(whole) * share
        result = engine.run(PLAIN, f"{letter} first prompt", budget=Budget(flops=limit))
        assert result.finish_reason == "budget"
        assert flops(result) <= limit
        (event,) = spent(result)
        assert event.unit == "flops"
        assert event.spent == pytest.approx(flops(result))
        assert event.spent + event.needed > limit
        assert result.completion.ids, "what has been made is kept"


def test_a_budget_too_small_for_the_prompt_starts_nothing(engine: Engine) -> None:
    engine.load(PLAIN)
    result = engine.run(PLAIN, "hello there, how do you do", budget=Budget(flops=1000))
    assert result.finish_reason == "budget"
    assert result.text == ""
    assert not any(isinstance(event, Forward) for event in result.trace)
    assert engine.hosts()[0].backend.passes == 0


def test_seconds(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = FakeBackend.forward

    def slow(self: Any, steps: Any) -> Any:
        time.sleep(0.02)
        return forward(self, steps)

    monkeypatch.setattr(FakeBackend, "forward", slow)
    engine.run(PLAIN, "warm", budget="tokens=2")
    started = time.perf_counter()
    result = engine.run(PLAIN, "hello", budget="seconds=0.3")
    elapsed = time.perf_counter() - started
    assert result.finish_reason == "budget"
    assert 0 < len(result.completion.ids) < 16
    assert elapsed < 5.0
    (event,) = spent(result)
    assert event.unit == "seconds"
    late = event.spent > event.limit  # on a busy machine the time may be over between two passes
    assert late or event.needed >= 0.02, "a pass that would end too late is not started"


def test_text_held_back_is_not_lost_from_what_was_made(engine: Engine) -> None:
    """A budget that ends a run in the middle of a possible stop string."""
    whole = engine.run(PLAIN, "hello")
    for limit in range(1, 12):
        tail = whole.text[limit - 1 : limit + 1]
        if whole.text.find(tail) == limit - 1:
            result = engine.run(PLAIN, "hello", budget=Budget(tokens=limit), sampling=_stopping(tail))
            assert result.completion.ids == whole.completion.ids[:limit]
            assert result.text == whole.text[:limit]


def _stopping(text: str) -> Any:
    from counterpoint import Sampling

    return Sampling(stop=(text,))


@pytest.mark.parametrize("budget", ["tokens=0", "tokens=-1", "seconds=0", "flops=-5", "tokens=x", "", {"tokens": 0}, {}, 5])
def test_budgets_that_make_no_sense(engine: Engine, budget: Any) -> None:
    with pytest.raises(BudgetError) as caught:
        engine.run(PLAIN, "hello", budget=budget)
    assert caught.value.message.startswith(f"budget '{budget}': ")
    assert "each above 0" in caught.value.hint


def test_a_recipes_budget(engine: Engine) -> None:
    assert engine.run({**PLAIN, "budget": {"tokens": 5}}, "hello").finish_reason == "budget"
    assert len(engine.run({**PLAIN, "budget": {"tokens": 5}}, "hello", budget="tokens=9").completion.ids) == 9
    with pytest.raises(RecipeError, match=r"budget\.tokens: Input should be greater than 0"):
        engine.run({**PLAIN, "budget": {"tokens": 0}}, "hello")


@pytest.mark.parametrize(
    "drafter", [{"kind": "fake", "blur": 1.5, "end_bias": -99, "prompt_format": "raw"}, {"kind": "prompt_lookup"}]
)
@pytest.mark.parametrize("limit", [5, 12, 30])
@pytest.mark.parametrize("rule", ["invariant", "rejection"])
def test_drafts_count(engine: Engine, drafter: dict[str, Any], limit: int, rule: str) -> None:
    """Tokens generated at leaf models, drafts included, never pass the limit."""
    speculative = {"kind": "speculative", "target": "m", "draft": drafter, "rule": rule, "adaptive": False, "max_draft": 4}
    nodes = {"m": {**MODEL, "sharpness": 20.0, "memory": 1}, "s": speculative}
    recipe = {"nodes": nodes, "output": "s", "sampling": {"temperature": 0.8, "max_tokens": 60}}
    result = engine.run(recipe, "hello hello hello hello", budget=Budget(tokens=limit))
    assert result.finish_reason == "budget"
    (event,) = spent(result)
    assert event.spent <= limit
    assert len(result.completion.ids) <= limit
    finished = [event for event in result.trace if isinstance(event, NodeFinished)]
    assert sum(event.generated for event in finished) <= limit
    if rule == "invariant":
        assert engine.run(recipe, "hello hello hello hello").text.startswith(result.text)


# --- budgets inside budgets -------------------------------------------------------------------------------------------


def test_a_childs_allowance_ends_the_child(engine: Engine, stage: Any) -> None:
    @stage.action
    async def pays(node: Any, run: Any, prompt: Any) -> None:
        for limit in (3, 5):
            made = await run.generate(node.children["a"], prompt, budget=Budget(tokens=limit), relay=True)
            assert made.finish_reason == "budget"
            assert len(made.ids) == limit

    result = engine.run(with_script("pays"), "hello")
    assert result.finish_reason == "stop"
    assert len(result.completion.ids) == 8
    assert [event.limit for event in spent(result)] == [3, 5]
    assert len({event.span for event in spent(result)} - {1}) == 2


def test_a_child_cannot_spend_more_than_its_parent_has(engine: Engine, stage: Any) -> None:
    seen = []

    @stage.action
    async def pays(node: Any, run: Any, prompt: Any) -> None:
        seen.append(await run.generate(node.children["a"], prompt, budget=Budget(tokens=6), relay=True))
        seen.append(await run.generate(node.children["b"], prompt, budget=Budget(tokens=6), relay=True))
        raise AssertionError("the parent's budget is spent: nobody gets here")

    result = engine.run(with_script("pays"), "hello", budget=Budget(tokens=10))
    assert len(seen) == 1
    assert result.finish_reason == "budget"
    assert len(result.completion.ids) == 10
    assert [(event.span == 1, event.limit) for event in spent(result)] == [(False, 6), (True, 10)]
    reasons = [event.finish_reason for event in result.trace if isinstance(event, NodeFinished)]
    assert reasons == ["budget", "budget", "budget"]


def test_three_deep(engine: Engine, stage: Any) -> None:
    reasons = []

    @stage.action
    async def middle(node: Any, run: Any, prompt: Any) -> None:
        made = await run.generate(node.children["a"], prompt, budget=Budget(tokens=50), relay=True)
        reasons.append(("inner", made.finish_reason))

    @stage.action
    async def outer(node: Any, run: Any, prompt: Any) -> None:
        made = await run.generate(node.child, prompt, budget=Budget(tokens=4), relay=True)
        reasons.append(("middle", made.finish_reason, len(made.ids)))
        made = await run.generate(node.children["a"], prompt, relay=True)
        reasons.append(("last", made.finish_reason))

    recipe = with_script("middle")
    recipe["nodes"]["o"] = {"kind": "script", "action": "outer", "child": "s", "children": {"a": "m"}}
    result = engine.run({**recipe, "output": "o"}, "hello", budget=Budget(tokens=20))
    assert reasons == [("middle", "budget", 4)]
    assert result.finish_reason == "budget"
    assert len(result.completion.ids) == 20
    assert result.text == "".join(event.text for event in result.trace if isinstance(event, Emitted) and event.span == 1)


def test_no_plugin_swallows_a_spent_budget(engine: Engine, stage: Any) -> None:
    @stage.action
    async def swallows(node: Any, run: Any, prompt: Any) -> None:
        for _ in range(50):
            try:
                await run.generate(node.children["a"], prompt, relay=True)
            except Exception:  # noqa: BLE001
                continue

    result = engine.run(with_script("swallows"), "hello", budget=Budget(tokens=90))
    assert result.finish_reason == "budget"
    assert len(result.completion.ids) == 90


@pytest.mark.parametrize("limit", [9, 10, 11, 40])
def test_children_at_once_share_one_limit(engine: Engine, stage: Any, limit: int) -> None:
    @stage.action
    async def together(node: Any, run: Any, prompt: Any) -> None:
        await run.gather(*(run.generate(node.children["ab"[index % 2]], prompt) for index in range(4)))

    result = engine.run(with_script("together"), "hello", budget=Budget(tokens=limit))
    assert result.finish_reason == "budget"
    emitted = sum(len(event.ids) for event in result.trace if isinstance(event, Emitted))
    assert emitted <= limit
    assert emitted > limit - 4, "what may be spent is spent"
    assert spent(result)[0].spent <= limit


def test_children_at_once_are_not_stopped_too_early(engine: Engine, stage: Any) -> None:
    """Passes under way are counted once: a budget of exactly what it takes is enough."""

    @stage.action
    async def together(node: Any, run: Any, prompt: Any) -> None:
        await run.gather(
            *(run.generate(node.children["a"], prompt.model_copy(update={"text": f"{letter} x"})) for letter in "abcdef")
        )

    whole = engine.run(with_script("together"), "hello")
    engine.run(PLAIN, "something else altogether, so that nothing is parked")
    need = flops(whole)
    from counterpoint.testing import make_engine

    with make_engine([stage.plugin]) as fresh:
        result = fresh.run(with_script("together"), "hello", budget=Budget(flops=need * (1 + 1e-9)))
        assert result.finish_reason == "stop"
        assert flops(result) == pytest.approx(need)
        less = fresh.run(with_script("together"), "hello", budget=Budget(flops=need * 0.5))
        assert less.finish_reason == "budget"
        assert flops(less) <= need * 0.5


def test_budgets_of_children_at_once_end_each_its_own(engine: Engine, stage: Any) -> None:
    seen = []

    @stage.action
    async def together(node: Any, run: Any, prompt: Any) -> None:
        seen.extend(
            await run.gather(*(run.generate(node.children["a"], prompt, budget=Budget(tokens=limit)) for limit in (3, 5, 100)))
        )

    engine.run(with_script("together"), "hello")
    assert [(made.finish_reason, len(made.ids)) for made in seen] == [("budget", 3), ("budget", 5), ("length", 60)]


def test_a_cancelled_child_gives_back_what_it_had_reserved(engine: Engine, stage: Any) -> None:
    @stage.action
    async def gives_up(node: Any, run: Any, prompt: Any) -> None:
        for _ in range(20):
            task = asyncio.ensure_future(run.generate(node.children["a"], prompt))
            for _ in range(3):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert run._account.reserved == pytest.approx(0)
        await run.generate(node.children["a"], prompt, relay=True)

    result = engine.run(with_script("gives_up"), "hello", budget=Budget(flops=1e12, tokens=1000))
    assert result.finish_reason == "stop"
    assert len(result.completion.ids) == 60


def test_verifiers_spend_too(engine: Engine, stage: Any) -> None:
    @stage.action
    async def asks(node: Any, run: Any, prompt: Any) -> None:
        made = await run.generate(node.children["a"], prompt, relay=True, budget=Budget(tokens=3))
        await run.verify(node.verifier, prompt, [made])

    @stage.action
    async def scores(node: Any, run: Any, prompt: Any, completions: Any) -> list[float]:
        session = await run.open("m", prompt)
        for _ in range(99):
            row = (await session.extend([1]))[-1]
            await run.draw(row, session, [])
        return [0.0]

    recipe = with_script("asks", verifier={"kind": "script_verifier", "action": "scores"})
    result = engine.run(recipe, {"text": "hello", "fields": {"answer": "3"}}, budget=Budget(tokens=20))
    assert result.finish_reason == "budget"
    assert result.error is None
    assert len(result.completion.ids) == 3


def test_another_runs_spending_is_its_own(engine: Engine) -> None:
    results = engine.run_many(PLAIN, [f"prompt {letter}" for letter in "abc"], budget=Budget(tokens=10))
    assert [len(result.completion.ids) for result in results] == [10, 10, 10]


def test_a_budget_spent_where_nobody_set_one_is_an_error(engine: Engine, stage: Any) -> None:
    """A plugin that lets a task outlive its call."""

    @stage.action
    async def leaks(node: Any, run: Any, prompt: Any) -> None:
        from counterpoint.ledger import BudgetMeter
        from counterpoint.ledger import BudgetSpent as Spent

        raise Spent(BudgetMeter(Budget(tokens=1)), "tokens", 1, 1, 1)

    with pytest.raises(RunError, match="a budget was spent outside the call that set it"):
        engine.run(with_script("leaks"), "hello")


# --- partial answers and shared allowances ------------------------------------------------------------------------------


def test_a_child_keeps_what_it_has_made_when_a_callers_budget_is_spent(stage: Any, engine: Engine) -> None:
    made = []

    @stage.action
    async def keep(node: Any, run: Any, prompt: Any) -> Any:
        made.append(await run.generate(node.children["a"], prompt, keep_partial=True))
        made.append(await run.generate(node.children["b"], prompt, keep_partial=True))
        return run.adopt(made[0], run.path_of("a"))

    result = engine.run(with_script("keep"), "hello", budget=Budget(tokens=20))
    assert [(len(one.ids), one.finish_reason) for one in made] == [(20, "budget"), (0, "budget")]
    assert result.text == made[0].text
    assert result.completion.ids == made[0].ids
    assert result.completion.tokenizer == made[0].tokenizer != ""


@pytest.mark.parametrize("unit", ["tokens", "flops"])
def test_several_calls_share_an_allowance(stage: Any, engine: Engine, unit: str) -> None:
    made = []

    @stage.action
    async def share(node: Any, run: Any, prompt: Any) -> None:
        part = run.allowance(0.5)
        calls = [run.generate(node.children[name], prompt, budget=part) for name in ("a", "b", "a")]
        made.extend(await run.gather(*calls))

    whole = flops(engine.run(PLAIN, "hello", scope="x"))
    limit = 30 if unit == "tokens" else 3 * whole * 0.5
    result = engine.run(with_script("share"), "hello", budget=Budget(**{unit: limit}), scope="y")
    lengths = [len(one.ids) for one in made]
    if unit == "tokens":
        assert sum(lengths) == 15
    else:
        assert 0.4 * limit < flops(result) <= limit / 2
    assert max(lengths) - min(lengths) <= 1
    assert {one.finish_reason for one in made} == {"budget"}
    assert result.finish_reason == "stop", "what an allowance cuts off ends nothing else"


def test_an_allowance_is_of_what_is_left(stage: Any, engine: Engine) -> None:
    found = []

    @stage.action
    async def ask(node: Any, run: Any, prompt: Any) -> None:
        found.append(run.allowance(1.0))
        await run.generate(node.children["a"], prompt, budget=Budget(tokens=5))
        found.append(run.allowance(0.5))
        await run.generate(node.children["a"], prompt, keep_partial=True)
        found.append(run.allowance(1.0))

    engine.run(with_script("ask"), "hello")
    assert found == [None] * 3
    engine.run(with_script("ask"), "hello", budget=Budget(tokens=9))
    assert [meter.budget.tokens for meter in found[3:]] == [9, 2, 0]


def test_whether_a_budget_is_spent_is_told_of_those_in_force_here(stage: Any, engine: Engine) -> None:
    told: list[bool] = []

    @stage.action
    async def outer(node: Any, run: Any, prompt: Any) -> None:
        told.append(run.budget_spent)
        await run.generate(node.child, prompt, budget=Budget(tokens=2))
        told.append(run.budget_spent)
        await run.generate(node.child, prompt, keep_partial=True)
        told.append(run.budget_spent)

    script = {"kind": "script", "action": "outer", "child": "m"}
    given = {"nodes": {"m": {"kind": "fake", "end_bias": -99}, "s": script}, "output": "s", "sampling": {"max_tokens": 20}}
    engine.run(given, "hello", budget=Budget(tokens=9))
    assert told == [False, False, True]


def test_a_budget_that_a_verification_spends(engine: Engine) -> None:
    graph = {"nodes": {"m": {"kind": "fake"}, "v": {"kind": "likelihood", "model": "m"}}, "output": "v"}
    result = engine.verify(graph, "hello", ["there"], budget="flops=10").result()
    assert (result.finish_reason, list(result.scores)) == ("budget", [])
    assert [event.unit for event in result.trace if isinstance(event, BudgetSpent)] == ["flops"]
