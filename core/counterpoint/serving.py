"""What runs ask of the engine: checked plans of recipes, and the loaded models of their leaves."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import TYPE_CHECKING

from counterpoint.bridge import Bridges
from counterpoint.costs import PassCosts, nominal_costs
from counterpoint.modelcall import ModelCall
from counterpoint.node import LeafModel
from counterpoint.plan import Plan, make_plan
from counterpoint.pool import ModelPool
from counterpoint.prompt import Prompt
from counterpoint.recipe import Recipe
from counterpoint.registry import Registry
from counterpoint.rendering import render
from counterpoint.training.makers import standing

if TYPE_CHECKING:
    from counterpoint.host import ModelHost
    from counterpoint.session import Session


class Serving:
    """Plans that are made once, and models that are loaded when a run first asks for them and held until it ends."""

    def __init__(self, registry: Registry, pool: ModelPool, bridges: Bridges) -> None:
        self._registry = registry
        self._pool = pool
        self._bridges = bridges
        self._plans: dict[str, asyncio.Task[Plan]] = {}
        self._lock = threading.Lock()

    async def open(self, path: str, node: LeafModel, prompt: Prompt, run: ModelCall) -> Session:
        """A session on a leaf model (through :meth:`counterpoint.running.Run.open`)."""
        host = await self.host(path, node, run)
        from counterpoint.leaf import LeafSession, check_context  # imports torch: not before the model is there

        backend = host.backend
        ids, prefix = render(prompt, node.prompt_format, backend.tokenizer, path)
        check_context(backend, ids, prefix, path, f"{node.kind} model '{getattr(node, 'source', path)}'")
        session = LeafSession(host, path, ids, prefix, backend.stop_ids, node.stop, run, run.scope)
        await host.open(session)
        return session

    async def costs(self, path: str, node: LeafModel, run: ModelCall, *, measured: bool) -> PassCosts:
        """Costs of a leaf model's passes; it is loaded only if they are not known without it."""
        from counterpoint.calibration import known_costs

        host = run.hosts.get(path)
        if host is None:
            facts = (await self.planned(run.recipe, run.root_prompt)).facts[path]
            if not measured and facts.shape is not None:
                return nominal_costs(facts.shape)
            if measured and (known := known_costs(facts.key)) is not None:
                return known
            host = await self.host(path, node, run)
        return await self._pool.pass_costs(host) if measured else nominal_costs(host.backend.shape)

    async def host(self, path: str, node: LeafModel, run: ModelCall) -> ModelHost:
        """The loaded model of a node, held until the run ends."""
        host = run.hosts.get(path)
        if host is None:
            plan = await self.planned(run.recipe, run.root_prompt)
            host = await self._pool.host(path, node, plan.facts[path], run)
            if path not in run.hosts:
                host.users += 1
                run.hosts[path] = host
        return host

    async def planned(self, recipe: Recipe, prompt: Prompt) -> Plan:
        """The checked plan of a recipe; made once while its models stay in the store."""
        parts = recipe.to_dict() | dict.fromkeys(("seed", "sampling", "budget", "prompt", "name", "description"))
        key = json.dumps([parts, recipe.sampling.model_dump_json(), prompt.text is None, sorted(prompt.fields)])
        key += standing(key)  # an artifact may have been made anew under its old name
        task = self._plans.get(key)
        if task is None:
            task = self._plans[key] = asyncio.get_running_loop().create_task(self._make_plan(recipe, prompt))
        try:
            plan = await asyncio.shield(task)  # a cancelled run does not stop others from having the plan
        except BaseException:
            if task.done():
                self._plans.pop(key, None)
            raise
        if plan.download_bytes > 0:
            self._plans.pop(key, None)
        return plan

    async def _make_plan(self, recipe: Recipe, prompt: Prompt) -> Plan:
        plan = await asyncio.to_thread(self._locked_plan, recipe, prompt)
        plan.check()
        return plan

    def _locked_plan(self, recipe: Recipe, prompt: Prompt) -> Plan:
        with self._lock:  # many runs starting at once look at the same files one after the other
            return make_plan(recipe, self._registry, self._pool.resources(), prompt, self._bridges)
