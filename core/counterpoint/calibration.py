"""Times passes, once per model and machine: what draft lengths rest on."""

from __future__ import annotations

import contextlib
import json
import platform
import time
from pathlib import Path
from typing import Any

import torch

from counterpoint import paths
from counterpoint.costs import PassCosts
from counterpoint.session import Backend, Step
from counterpoint.writing import write_whole

_SIZES = (1, 2, 4, 8, 16, 32)
_REPEATS = 3
_HELD = 32
"""Tokens a slot holds before each timed pass, where the context allows."""


def calibrate(backend: Backend, key: str) -> PassCosts:
    """Times a few passes of different sizes (some seconds for a billion weights), once per model and machine.

    The result is kept in ``calibration.json`` beside the model store; delete the file to measure again.
    """
    if (costs := known_costs(key)) is not None:
        return costs
    costs = measure(backend)
    _write(_path(), {**_read(_path()), _name(key): costs.points})
    return costs


def known_costs(key: str) -> PassCosts | None:
    """What has been measured on this machine before; None when nothing has."""
    return _parse(_read(_path()).get(_name(key)))


def _path() -> Path:
    return paths.home() / "calibration.json"


def _name(key: str) -> str:
    return f"{key}|{platform.node()}|{torch.get_num_threads()} threads|torch {torch.__version__}"


def measure(backend: Backend) -> PassCosts:
    """Times passes of one row of different sizes."""
    slot = backend.new_slot()
    try:
        token = min(7, backend.tokenizer.size - 1)
        held = min(_HELD, backend.context // 2)
        sizes = [size for size in _SIZES if held + size <= backend.context]
        prompt = [token] * held if backend.start_ids else ()
        backend.forward([Step(slot, [token] * held, 1, prompt=prompt)])
        seconds: dict[int, list[float]] = {size: [] for size in sizes}
        for _ in range(_REPEATS):  # sizes in turn, so that a busy moment does not fall on one of them
            for size in sizes:
                backend.truncate(slot, held)
                started = time.perf_counter()
                backend.forward([Step(slot, [token] * size, size)])
                backend.synchronize()
                seconds[size].append(time.perf_counter() - started)
        points: list[tuple[int, float]] = []
        for size in sizes:
            # the least is what the machine can do; and a larger pass is never counted as cheaper than a smaller one
            points.append((size, max([min(seconds[size]), *(cost for _, cost in points)])))
    finally:
        backend.free(slot)
    return PassCosts(tuple(points))


def _parse(points: Any) -> PassCosts | None:
    """Costs from the file; None when it holds nothing that can be read, which is then measured again."""
    try:
        costs = PassCosts(tuple((int(tokens), float(cost)) for tokens, cost in points))
    except (TypeError, ValueError):
        return None
    return costs if len(costs.points) > 1 else None


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _write(path: Path, data: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # a calibration that cannot be kept is measured again next time
        write_whole(path, json.dumps(data, indent=1))
