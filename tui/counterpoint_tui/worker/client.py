"""The application's side: an engine in a process of its own, which is started when first wanted and anew after it has died."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from counterpoint.errors import CounterpointError, RunError
from counterpoint.events import Event
from counterpoint.prompt import Prompt
from counterpoint.recipe import Recipe
from counterpoint.settings import Budget, Sampling
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
    RunEvent,
    StartRun,
    dump,
    parse_reply,
)

_CHUNK = 1 << 16
_LAST_WORDS = 2_000  # characters of standard error kept to say why a worker died


class WorkerDied(RunError):
    """The engine's process ended while something was asked of it."""


@dataclass(frozen=True)
class RunRequest:
    """What is to be run: a recipe, a prompt (by default the recipe's own), and what goes over the recipe's settings."""

    recipe: Recipe
    prompt: Prompt | None = None
    sampling: Sampling | None = None
    """Only what is set counts."""
    seed: int | None = None
    budget: Budget | None = None


@dataclass
class Running:
    """A run under way. Iterating over it gives its events in batches, as they come; the last one is ``run_finished``.

    Raises (when iterated over):
        CounterpointError: the recipe or the prompt was refused.
        WorkerDied: the process ended; what it had done is stored.
    """

    id: int
    _client: WorkerClient
    _replies: asyncio.Queue[list[Reply] | CounterpointError]
    ended: RunEnded | None = field(default=None, init=False)
    """Under which id it is stored, and what there is to warn of; once it is over."""

    async def __aiter__(self) -> AsyncIterator[list[Event]]:
        while self.ended is None:
            replies = await self._replies.get()
            if isinstance(replies, CounterpointError):
                raise replies
            events = [reply.event for reply in replies if isinstance(reply, RunEvent)]
            if events:
                yield events
            for reply in replies:
                if isinstance(reply, Refused):
                    raise reply.exception()
                if isinstance(reply, RunEnded):
                    self.ended = reply

    def cancel(self) -> None:
        """Ends the run within one pass; its events go on to the end of it."""
        self._client.cancel(self.id)


class WorkerClient:
    """Asks a worker process for plans, runs and downloads. To be used in one event loop, and closed in it.

    Args:
        plugins: modules that are plugins, besides the installed ones.
        offline: never use the network.
    """

    def __init__(self, *, plugins: Sequence[str] = (), offline: bool = False) -> None:
        self._arguments = [*(part for name in plugins for part in ("--plugin", name)), *(["--offline"] if offline else [])]
        self._process: asyncio.subprocess.Process | None = None
        self._starting = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: dict[int, asyncio.Queue[list[Reply] | CounterpointError]] = {}
        self._keeping: set[int] = set()
        """Commands under way that make something which is kept: runs and downloads."""
        self._last = 0
        self._closing = False
        self._errors = ""

    @property
    def busy(self) -> bool:
        """Whether something that was asked for is under way."""
        return bool(self._waiting)

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> None:
        """Starts the process now, so that what is asked first need not wait for it."""
        async with self._starting:
            if self._process is not None:
                return
            if self._closing:
                raise RunError("the engine is closed", hint="this is a bug: nothing may be asked any more")
            # -P: no module of the working directory gets in. A session of its own: neither the terminal's Ctrl-C nor its
            # closing reaches it, so that it can store what it has.
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "counterpoint_tui.worker", *self._arguments),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
            self._errors = ""
            heard = self._spawn(self._hear_errors(self._process))
            self._spawn(self._read(self._process, heard))

    async def plan(self, recipe: Recipe, prompt: Prompt | None = None) -> Planned:
        """Everything that can be said of a recipe before weights load.

        Raises:
            CounterpointError: it does not hold together, or the worker died.
        """
        command = PlanRecipe(id=self._next(), recipe=recipe.to_dict(), prompt=prompt)
        reply = await self._answer(command)
        assert isinstance(reply, Planned)
        return reply

    async def run(self, request: RunRequest) -> Running:
        """Starts a run; what it has to say comes by iterating over what is returned.

        Raises:
            WorkerDied: there is no process to run it.
        """
        command = StartRun(
            id=self._next(),
            recipe=request.recipe.to_dict(),
            prompt=request.prompt,
            sampling=request.sampling,
            seed=request.seed,
            budget=request.budget,
        )
        return Running(command.id, self, await self._ask(command))

    async def pull(self, source: str, report: Callable[[PullProgress], None] = lambda _: None) -> Pulled:
        """Downloads a model; cancelling the task that awaits this stops it, and what has come stays.

        Raises:
            CounterpointError: it cannot be had, or the worker died.
        """
        reply = await self._answer(PullModel(id=self._next(), source=source), report)
        assert isinstance(reply, Pulled)
        return reply

    def cancel(self, command: int) -> None:
        """Stops what a command has begun; nothing happens when it is over."""
        process = self._process
        if process is not None and process.stdin is not None and command in self._waiting:
            with contextlib.suppress(OSError):
                process.stdin.write(dump(Cancel(id=command)))

    async def close(self, patience: float = 20.0) -> None:
        """Ends the process: runs are cancelled and stored first, as far as ``patience`` (seconds) allows; plans are dropped."""
        self._closing = True
        async with self._starting:
            process = self._process
        if process is not None and not self._keeping:
            with contextlib.suppress(ProcessLookupError):
                process.kill()  # nothing is lost
            await process.wait()
        elif process is not None:
            assert process.stdin is not None
            with contextlib.suppress(OSError):
                process.stdin.write(dump(Quit()))
                process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), patience)
            except TimeoutError:  # a pass or a load that takes longer; the stored run is readable up to there
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        for task in list(self._tasks):
            await task

    # --- how ----------------------------------------------------------------------------------------------------------------

    def _next(self) -> int:
        self._last += 1
        return self._last

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _ask(self, command: Command) -> asyncio.Queue[list[Reply] | CounterpointError]:
        await self.start()
        replies: asyncio.Queue[list[Reply] | CounterpointError] = asyncio.Queue()
        process = self._process
        if process is None or process.stdin is None:  # it has died while it was being started
            message, hint = self._death(None)
            raise WorkerDied(message, hint=hint)
        self._waiting[command.id] = replies
        if isinstance(command, StartRun | PullModel):
            self._keeping.add(command.id)
        with contextlib.suppress(OSError):  # who reads it is gone; the reader says so in a moment
            process.stdin.write(dump(command))
            await process.stdin.drain()
        return replies

    async def _answer(self, command: Command, report: Callable[[PullProgress], None] = lambda _: None) -> Reply:
        """The reply that ends a command; who no longer waits for it cancels it."""
        queue = await self._ask(command)
        try:
            while True:
                replies = await queue.get()
                if isinstance(replies, CounterpointError):
                    raise replies
                for reply in replies:
                    if isinstance(reply, Refused):
                        raise reply.exception()
                    if not isinstance(reply, PullProgress):
                        return reply
                    report(reply)
        finally:
            self.cancel(command.id)

    async def _read(self, process: asyncio.subprocess.Process, heard: asyncio.Task[None]) -> None:
        """Hands replies to who waits for them, until the process ends."""
        assert process.stdout is not None
        rest = b""
        try:
            while chunk := await process.stdout.read(_CHUNK):
                *lines, rest = (rest + chunk).split(b"\n")
                self._deliver([parse_reply(line) for line in lines])
                await asyncio.sleep(0)  # what is in the buffer is returned without waiting: let others work in between
        except ValidationError as error:
            self._errors += f"\na reply that makes no sense: {error.errors()[0]['msg']}"
            process.kill()
        status = await process.wait()
        await heard
        self._process = None
        message, hint = self._death(status)
        for replies in self._waiting.values():
            replies.put_nowait(WorkerDied(message, hint=hint))
        self._waiting.clear()
        self._keeping.clear()

    def _deliver(self, replies: Sequence[Reply]) -> None:
        batches: dict[int, list[Reply]] = {}
        for reply in replies:
            batches.setdefault(reply.id, []).append(reply)
        for number, batch in batches.items():
            if queue := self._waiting.get(number):
                queue.put_nowait(batch)
            if isinstance(batch[-1], (Planned, Pulled, RunEnded, Refused)):
                self._waiting.pop(number, None)
                self._keeping.discard(number)

    async def _hear_errors(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while chunk := await process.stderr.read(_CHUNK):
            self._errors = (self._errors + chunk.decode(errors="replace"))[-_LAST_WORDS:]

    def _death(self, status: int | None) -> tuple[str, str]:
        how = "" if status is None else f" with status {status}"
        hint = "what was under way is stored as interrupted; the next run starts a new process"
        if status is not None and status < 0:
            with contextlib.suppress(ValueError):
                how = f", ended by {signal.Signals(-status).name}"
            if status == -signal.SIGKILL:
                hint += ". A system that runs out of memory ends processes like this: try smaller models"
        words = self._errors.strip().splitlines()
        said = f": {words[-1].strip()}" if words else ""
        return f"the engine's process has ended unexpectedly{how}{said}", hint
