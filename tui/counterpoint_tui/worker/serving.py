"""The worker's side: commands come in, each is done in a thread of its own, replies go out."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import IO, TYPE_CHECKING

from counterpoint.cli.plan import as_data
from counterpoint.errors import CounterpointError
from counterpoint.recipe import load_recipe
from counterpoint.registry import Registry
from counterpoint.runstore import RunStore
from counterpoint_tui.worker.protocol import (
    Cancel,
    Command,
    Planned,
    PlanRecipe,
    Pulled,
    PullModel,
    PullProgress,
    Quit,
    Refused,
    Reply,
    RunEnded,
    StartRun,
    dump,
    dump_run_event,
    parse_command,
)

if TYPE_CHECKING:
    from counterpoint.engine import Engine
    from counterpoint.store import Progress

_log = logging.getLogger("counterpoint.tui.worker")


class _Cancelled(Exception):
    """Raised inside a download that is to stop."""


class Server:
    """Does what commands say until they end.

    Args:
        registry: the plugins.
        replies: where replies are written, one a line. When nobody reads them any more, work goes on to its orderly end.
        offline: never use the network.
    """

    def __init__(self, registry: Registry, replies: IO[bytes], *, offline: bool = False) -> None:
        self._registry = registry
        self._offline = offline
        self._replies: IO[bytes] | None = replies
        self._writing = threading.Lock()
        self._making = threading.Lock()
        self._planning = threading.Lock()
        self._engine: Engine | None = None
        self._cancels: dict[int, Callable[[], None]] = {}
        self._threads: list[threading.Thread] = []

    def serve(self, commands: Iterable[bytes]) -> None:
        """Takes commands, one a line, until they end or one says so."""
        for line in commands:
            command = parse_command(line)
            if isinstance(command, Quit):
                return
            if isinstance(command, Cancel):
                self._cancels.get(command.id, lambda: None)()
                continue
            if isinstance(command, StartRun):
                self._run(command)
                continue
            stopped = threading.Event()
            self._cancels[command.id] = stopped.set  # here, so that a cancel that follows finds it
            if isinstance(command, PullModel):
                self._begin(command, partial(self._pull, command, stopped))
            else:
                self._begin(command, partial(self._plan, command, stopped))

    def close(self) -> None:
        """Stops everything; runs end within a pass and are stored as cancelled."""
        for cancel in list(self._cancels.values()):
            cancel()
        for thread in self._threads:
            thread.join()
        if self._engine is not None:
            self._engine.close()

    # --- what each command does ---------------------------------------------------------------------------------------------

    def _plan(self, command: PlanRecipe, stopped: threading.Event) -> None:
        with self._planning:
            if stopped.is_set():  # a newer text of the recipe is waiting
                raise CounterpointError("cancelled")
            loaded = load_recipe(command.recipe, registry=self._registry)
            prompt = command.prompt or loaded.prompt
            made = self._engine_ready().plan(loaded, prompt)
            data = as_data(made, prompt)
        self._send(Planned.model_validate({**data, "id": command.id, "findings": tuple(made.findings)}))

    def _run(self, command: StartRun) -> None:
        """Starts a run before the next command is read, and follows it in a thread."""
        try:
            stream = self._engine_ready().stream(
                load_recipe(command.recipe, registry=self._registry),
                command.prompt,
                seed=command.seed,
                budget=command.budget,
                sampling=command.sampling,
            )
        except Exception as error:  # noqa: BLE001 (whatever it is, who asked is told)
            self._refuse(command, error)
            return
        self._cancels[command.id] = stream.cancel

        def follow() -> None:
            store = RunStore()
            for event in store.record(stream):
                self._write(dump_run_event(command.id, event))
            result = stream.wait()
            if result.error is not None and result.error.__cause__ is not None:
                _log.error("run %s failed", result.run_id, exc_info=result.error)
            self._send(
                RunEnded(id=command.id, run_id=stream.run_id, warnings=tuple(stream.warnings), problems=tuple(store.problems))
            )

        self._begin(command, follow)

    def _pull(self, command: PullModel, stopped: threading.Event) -> None:
        from counterpoint.store import ModelStore

        def report(progress: Progress) -> None:
            if stopped.is_set():
                raise _Cancelled
            self._send(
                PullProgress(
                    id=command.id,
                    phase=progress.phase,
                    item=progress.item,
                    done=progress.done,
                    total=progress.total,
                    unit=progress.unit,
                )
            )

        try:
            # No format is asked for: what is downloaded may be converted for the backend that loads it, when it does.
            files = ModelStore().ensure(command.source, formats=(), progress=report, offline=self._offline)
        except _Cancelled:
            raise CounterpointError(
                f"{command.source}: cancelled", hint="what has come stays; pulling it again goes on"
            ) from None
        self._send(Pulled(id=command.id, source=command.source, licence=files.licence))

    # --- how ----------------------------------------------------------------------------------------------------------------

    def _engine_ready(self) -> Engine:
        with self._making:
            if self._engine is None:
                from counterpoint.engine import Engine

                self._engine = Engine(registry=self._registry, offline=self._offline)
            return self._engine

    def _begin(self, command: Command, work: Callable[[], None]) -> None:
        def safely() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 (whatever it is, who asked is told)
                self._refuse(command, error)
            finally:
                self._cancels.pop(command.id, None)

        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=safely, name=f"{command.type} {command.id}")
        self._threads.append(thread)
        thread.start()

    def _refuse(self, command: Command, error: Exception) -> None:
        if isinstance(error, CounterpointError):
            refused = Refused(id=command.id, error=type(error).__name__, message=error.message, hint=error.hint)
        else:
            _log.error("%s failed", command.type, exc_info=error)
            refused = Refused(
                id=command.id,
                error="CounterpointError",
                message=f"unexpected {type(error).__name__}: {error}",
                hint="this is a bug of Counterpoint or of a plugin; the traceback is in counterpoint.log",
            )
        self._send(refused)

    def _send(self, reply: Reply) -> None:
        self._write(dump(reply))

    def _write(self, line: bytes) -> None:
        with self._writing:
            if self._replies is None:
                return
            try:
                view = memoryview(line)
                while view:
                    view = view[self._replies.write(view) :]
            except OSError:  # the application is gone; what is under way is still recorded
                self._replies = None
