"""The engine: plans recipes, runs them, and owns what is worth keeping between runs: weights and caches."""

from __future__ import annotations

import atexit
import gc
import weakref
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from counterpoint.bridge import Bridges
from counterpoint.draws import DrawBatch
from counterpoint.errors import RecipeError, RunError
from counterpoint.inputs import merge_sampling, parse_budget, parse_prompt, parse_seed
from counterpoint.life import live, new_run_id
from counterpoint.node import LeafModel, Trainer
from counterpoint.plan import Plan, make_plan
from counterpoint.pool import ModelPool
from counterpoint.prompt import Completion, Prompt, PromptLike
from counterpoint.recipe import Recipe, load_recipe
from counterpoint.registry import Registry, load_plugins
from counterpoint.scheduler import Scheduler
from counterpoint.serving import Serving
from counterpoint.settings import Budget, Sampling
from counterpoint.streaming import RunResult, RunStream

if TYPE_CHECKING:
    from counterpoint.host import ModelHost
    from counterpoint.store import ModelStore

RecipeLike = str | Path | Mapping[str, Any] | Recipe

_NOTHING_ASKED = Prompt(text="(training: nothing is asked)")
"""What a training is recorded with, which has no prompt."""


_OPEN: weakref.WeakSet[Engine] = weakref.WeakSet()


@atexit.register
def _close_open() -> None:
    """A pass under way when the interpreter exits would use libraries that are being taken down."""
    for engine in list(_OPEN):
        engine.close()


class Engine:
    """Runs recipes. Loaded models and their caches stay until :meth:`close`; runs in flight together share passes.

        with cp.Engine() as engine:
            result = engine.run("speculative", "Write a haiku about two voices.")
            print(result.text)

    Args:
        registry: the plugins to use; by default all installed ones.
        store: where models are; by default the user's store.
        offline: never use the network.
        memory_limit: bytes that the weights of loaded models may take; models not in use are given back before it is
            passed. By default three quarters of the machine's memory.
    """

    def __init__(
        self,
        *,
        registry: Registry | None = None,
        store: ModelStore | None = None,
        offline: bool = False,
        memory_limit: int | None = None,
    ) -> None:
        self.registry = registry or load_plugins()
        self._scheduler = Scheduler()
        _OPEN.add(self)
        self.pool = ModelPool(self._scheduler, store, offline=offline, memory_limit=memory_limit)
        self.bridges = Bridges()
        self.draws = DrawBatch()
        self._scheduler.add(self.draws)
        self.serving = Serving(self.registry, self.pool, self.bridges)
        self._closed = False

    def recipe(self, source: RecipeLike, overrides: Iterable[tuple[str, Any]] = ()) -> Recipe:
        """A recipe by name, file or data, with some settings changed. See :func:`counterpoint.load_recipe`."""
        return load_recipe(source, registry=self.registry, overrides=overrides)

    def plan(self, recipe: RecipeLike, prompt: PromptLike | None = None) -> Plan:
        """Everything that can be said before weights load; ``plan.check()`` raises what stands in the way.

        Raises:
            RecipeError: the recipe cannot be read, or its graph does not hold together.
        """
        loaded = self.recipe(recipe)
        given = parse_prompt(prompt, loaded) if prompt is not None else loaded.prompt
        return make_plan(loaded, self.registry, self.pool.resources(), given, self.bridges)

    def stream(
        self,
        recipe: RecipeLike,
        prompt: PromptLike | None = None,
        *,
        seed: int | None = None,
        row: int = 0,
        budget: Budget | str | None = None,
        sampling: Sampling | None = None,
        scope: str = "",
    ) -> RunStream:
        """Starts a run and returns its stream of events (iterable, async iterable, awaitable for the result).

        Args:
            recipe: a name, a path, plain data or a recipe.
            prompt: a string, messages, or a :class:`Prompt`; by default the recipe's own.
            seed: instead of the recipe's.
            row: which of several samples of this prompt (each draws differently).
            budget: limits on what the run may cost, such as ``"flops=1e12,seconds=30"``.
            sampling: settings over those of the recipe (only what is set).
            scope: runs of one scope share the beginnings that models have processed. A scope of its own makes what a run
                costs independent of what ran before.

        Raises:
            RecipeError: the recipe or the prompt is not valid. What fails later is in the stream and its result.
        """
        made = self._made(recipe, prompt, None, seed=seed, row=row, budget=budget, sampling=sampling, scope=scope)
        self._start(made)
        return made[0]

    def samples(self, recipe: RecipeLike, prompt: PromptLike | None, count: int, **options: Any) -> list[RunStream]:
        """Starts several samples of one prompt in the same moment, so that what each costs is the same every time.

        Args:
            recipe: a name, a path, plain data or a recipe.
            prompt: what all of them answer.
            count: how many; their ``row`` goes up from 0.
            options: ``seed``, ``budget``, ``sampling``, ``scope``; see :meth:`stream`.

        Raises:
            RecipeError: the recipe or the prompt is not valid. What fails later is in each stream and its result.
        """
        made = [self._made(recipe, prompt, None, row=row, **options) for row in range(count)]
        self._start(*made)
        return [stream for stream, _ in made]

    def verify(
        self, recipe: RecipeLike, prompt: PromptLike | None, answers: Sequence[Completion | str], **options: Any
    ) -> RunStream:
        """Scores answers by a recipe whose output is a verifier; ``result().scores`` has one score for each.

        Args:
            recipe: a name, a path, plain data or a recipe.
            prompt: what was answered, with the ``fields`` that the verifier requires.
            answers: completions, or their texts.
            options: ``seed``, ``budget``, ``scope``; see :meth:`stream`.

        Raises:
            RecipeError: the recipe or the prompt is not valid. What fails later is in the stream and its result.
        """
        given = [Completion(text=answer, finish_reason="stop") if isinstance(answer, str) else answer for answer in answers]
        made = self._made(recipe, prompt, given, **options)
        self._start(made)
        return made[0]

    def train(self, recipe: RecipeLike, *, seed: int | None = None) -> RunStream:
        """Starts the training of a recipe whose output is a trainer; ``result().text`` is what recipes load: ``artifact:NAME``.

        A training that was stopped, by :meth:`RunStream.cancel` or by a kill, goes on from its last checkpoint.

        Args:
            recipe: a name, a path, plain data or a recipe.
            seed: instead of the recipe's.

        Raises:
            RecipeError: the recipe is not valid, or its output is no trainer. What fails later is in the stream and its result.
        """
        loaded = self.recipe(recipe)
        node = loaded.nodes.get(loaded.output)
        if node is not None and not isinstance(node, Trainer):
            raise RecipeError(
                f"{loaded.name}: output '{loaded.output}' ({node.kind}) trains nothing",
                hint="name a trainer as the output, or run it with `counterpoint run RECIPE`",
            )
        if loaded.budget is not None:
            raise RecipeError(
                f"{loaded.name}: a training has no budget", hint="limit it by the trainer's own settings, its steps say"
            )
        made = self._made(loaded, loaded.prompt or _NOTHING_ASKED, None, seed=seed, training=True)
        self._start(made)
        return made[0]

    def _start(self, *made: tuple[RunStream, Coroutine[Any, Any, None]]) -> None:
        loop = self._scheduler.loop()
        for stream, _ in made:
            stream.attach(loop)

        def start() -> None:
            for stream, life in made:
                stream.start(life)

        loop.call_soon_threadsafe(start)

    def _made(
        self,
        recipe: RecipeLike,
        prompt: PromptLike | None,
        answers: Sequence[Completion] | None,
        *,
        seed: int | None = None,
        row: int = 0,
        budget: Budget | str | None = None,
        sampling: Sampling | None = None,
        scope: str = "",
        training: bool = False,
    ) -> tuple[RunStream, Coroutine[Any, Any, None]]:
        """A run that has not been started."""
        self._check_open()
        loaded = self.recipe(recipe)
        given = parse_prompt(prompt, loaded)
        changes: dict[str, Any] = {"sampling": merge_sampling(loaded.sampling, sampling)}
        if budget is not None:
            changes["budget"] = parse_budget(budget)
        if seed is not None:
            changes["seed"] = parse_seed(seed)
        loaded = loaded.model_copy(update=changes)
        stream = RunStream(new_run_id(), loaded)
        return stream, live(self, stream, loaded, given, row, answers, scope, training)

    def run(self, recipe: RecipeLike, prompt: PromptLike | None = None, **options: Any) -> RunResult:
        """Runs a recipe to its end; options as in :meth:`stream`.

        Raises:
            CounterpointError: the run failed; what it had made is in the error's ``result``.
        """
        return self.stream(recipe, prompt, **options).result()

    def run_many(
        self, recipe: RecipeLike, prompts: Sequence[PromptLike], *, samples: int = 1, **options: Any
    ) -> list[RunResult]:
        """Runs many prompts, and several samples of each, in flight together; results in order, samples adjacent.

        A run that fails leaves its error in its result and does not stop the others.
        """
        loaded = self.recipe(recipe)
        given = [parse_prompt(prompt, loaded) for prompt in prompts]  # all, before any of them runs
        streams = [self.stream(loaded, prompt, row=row, **options) for prompt in given for row in range(samples)]
        try:
            return [stream.wait() for stream in streams]
        except BaseException:
            for stream in streams:
                stream.cancel()
            raise

    def load(self, recipe: RecipeLike) -> None:
        """Loads a recipe's models now, instead of with its first run.

        Raises:
            CounterpointError: the recipe does not hold together, or a model cannot be loaded.
        """
        self._check_open()
        plan = self.plan(recipe)
        plan.check()

        async def load_all() -> None:
            for path, node in plan.graph.nodes.items():
                if isinstance(node, LeafModel) and path in plan.facts:
                    await self.pool.host(path, node, plan.facts[path], None)

        self._scheduler.submit(load_all()).result()

    def hosts(self) -> list[ModelHost]:
        """The models that are loaded."""
        return self.pool.hosts()

    def _check_open(self) -> None:
        if self._closed:
            raise RunError("the engine is closed", hint="make a new cp.Engine()")

    def close(self) -> None:
        """Stops what runs and frees all models; a second call changes nothing."""
        if self._closed:
            return
        self._closed = True
        self.pool.stop()
        self._scheduler.close()
        self.pool.close()
        gc.collect()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
