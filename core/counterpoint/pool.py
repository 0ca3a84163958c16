"""Loaded models, shared by nodes and runs: loaded once, given back when memory is wanted and nobody holds them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import psutil

from counterpoint.costs import PassCosts
from counterpoint.errors import ModelError, RunError
from counterpoint.events import Progress
from counterpoint.node import LeafModel
from counterpoint.planning import ModelFacts, Resources
from counterpoint.scheduler import Scheduler

if TYPE_CHECKING:
    from counterpoint.host import ModelHost
    from counterpoint.modelcall import ModelCall
    from counterpoint.store import ModelStore
    from counterpoint.store import Progress as StoreProgress


class ModelPool:
    """Hosts of loaded models by the ``key`` of their facts. Everything but :meth:`resources` runs on the engine's loop.

    Args:
        scheduler: what runs the hosts' passes.
        store: where models are; by default the user's store, looked up at first use.
        offline: never use the network.
        memory_limit: bytes that the weights of all models may take; by default three quarters of the machine's memory.
    """

    def __init__(self, scheduler: Scheduler, store: ModelStore | None, *, offline: bool, memory_limit: int | None) -> None:
        self._scheduler = scheduler
        self._store = store
        self._offline = offline
        self._limit = memory_limit or psutil.virtual_memory().total * 3 // 4
        self._awaited: Counter[str] = Counter()
        self._hosts: dict[str, asyncio.Task[ModelHost]] = {}
        self._closing = False

    def resources(self, progress: Callable[[StoreProgress], None] | None = None) -> Resources:
        """What leaf models need to find and load their weights."""
        if self._store is None:
            from counterpoint.store import ModelStore

            self._store = ModelStore()
        return Resources(self._store, self._offline, progress)

    def hosts(self) -> list[ModelHost]:
        """The models that are loaded."""
        tasks = [task for task in self._hosts.values() if task.done() and not task.cancelled()]
        return [task.result() for task in tasks if task.exception() is None]

    async def host(self, path: str, node: LeafModel, facts: ModelFacts, run: ModelCall | None) -> ModelHost:
        """The model of a node, loaded if it is not; ``run`` hears of the progress.

        Raises:
            ModelError: it cannot be loaded.
        """
        task = self._hosts.get(facts.key)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            self._make_room(facts.weight_bytes or 0)
            task = asyncio.get_running_loop().create_task(self._load(path, node, facts, run))
            self._hosts[facts.key] = task
        self._awaited[facts.key] += 1  # or it might be given back between its arrival and whoever waits for it
        try:
            return await asyncio.shield(task)  # a cancelled run does not stop others from having the model
        finally:
            self._awaited[facts.key] -= 1

    async def _load(self, path: str, node: LeafModel, facts: ModelFacts, run: ModelCall | None) -> ModelHost:
        loop = asyncio.get_running_loop()

        def emit(phase: str, item: str, done: float, total: float | None, unit: str) -> None:
            if run is not None:
                run.emit(Progress(node=path, phase=phase, item=item, done=done, total=total, unit=unit))

        def report(found: StoreProgress) -> None:
            if self._closing:
                raise RunError("the engine was closed while a model was being fetched", hint="what has arrived is kept")
            loop.call_soon_threadsafe(emit, found.phase, found.item, found.done, found.total, found.unit)

        emit("load", facts.source, 0, 1, "models")
        try:
            backend = await asyncio.to_thread(node.load, self.resources(report))
        except (MemoryError, OSError) as error:
            raise ModelError(
                f"{path}: cannot load the model: {error}", hint="free memory or disk, or use a smaller model"
            ) from error
        emit("load", facts.source, 1, 1, "models")
        from counterpoint.host import ModelHost  # imports torch, which a backend may do while it reads its weights

        host = ModelHost(backend, facts.key, weight_bytes=facts.weight_bytes or 0)
        self._scheduler.add(host)
        return host

    def _make_room(self, needed: int) -> None:
        """Gives back models that no run holds, when the new one would pass the memory limit."""
        loaded = self.hosts()
        total = needed + sum(host.weight_bytes for host in loaded)
        for host in loaded:
            if total <= self._limit:
                return
            if host.users == 0 and not self._awaited[host.key]:
                total -= host.weight_bytes
                del self._hosts[host.key]
                self._scheduler.remove(host)
                host.close()

    async def pass_costs(self, host: ModelHost) -> PassCosts:
        """The calibration of a loaded model (measured on the loop's thread, between passes, when it is not known yet)."""
        if (stated := host.backend.pass_costs()) is not None:
            return stated
        if host.calibrated is None:
            from counterpoint.calibration import calibrate
            from counterpoint.passrequest import as_model_error

            try:
                host.calibrated = calibrate(host.backend, host.key)
            except Exception as error:
                raise as_model_error("calibration", error) from error
        return host.calibrated

    def stop(self) -> None:
        """Stops fetching models (from any thread, as soon as there is progress); closing the scheduler then does not wait."""
        self._closing = True

    def close(self) -> None:
        """Frees all models."""
        for host in self.hosts():
            host.close()
        self._hosts.clear()
