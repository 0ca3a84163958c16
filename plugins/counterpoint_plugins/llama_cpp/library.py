"""llama.cpp's library: what it prints is kept for errors and logs, and what it allocates is given back."""

from __future__ import annotations

import ctypes
import logging
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llama_cpp

_LOG = logging.getLogger("counterpoint.llama_cpp")
_WARNING, _ERROR = 3, 4
_LEVELS = {_WARNING: logging.INFO, _ERROR: logging.ERROR}  # what it tells or warns of is detail to us
_PROBLEMS: deque[str] = deque(maxlen=8)


def _log(level: int, text: bytes, user_data: ctypes.c_void_p) -> None:
    line = text.decode("utf-8", errors="replace").rstrip()
    if not line:
        return
    if level == _ERROR:
        _PROBLEMS.append(line)
    _LOG.log(_LEVELS.get(level, logging.DEBUG), "%s", line)


_CALLBACK = llama_cpp.llama_log_callback(_log)  # kept for as long as the library may call it


def _start() -> None:
    llama_cpp.llama_log_set(_CALLBACK, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()


_start()


class Model:
    """A model file in memory, or only its vocabulary.

    Raises:
        RuntimeError: llama.cpp refuses the file; the message is what it printed.
    """

    def __init__(self, path: Path, *, vocabulary_only: bool = False, gpu_layers: int = 0) -> None:
        options = llama_cpp.llama_model_default_params()
        options.vocab_only = vocabulary_only
        options.n_gpu_layers = gpu_layers
        _PROBLEMS.clear()
        self.pointer: Any = llama_cpp.llama_model_load_from_file(str(path).encode(), options)
        if not self.pointer:
            raise RuntimeError(_problems() or "no reason given")
        free = weakref.finalize(self, llama_cpp.llama_model_free, self.pointer)
        free.atexit = False  # a pass may be under way until the engine has been closed
        self.close: Callable[[], Any] = free
        """Frees it; a second call changes nothing."""


def new_context(model: Model, options: Any) -> Any:
    """A context of a model.

    Raises:
        RuntimeError: there is not enough memory, or llama.cpp refuses the options.
    """
    _PROBLEMS.clear()
    context = llama_cpp.llama_init_from_model(model.pointer, options)
    if not context:
        raise RuntimeError(_problems() or "no reason given")
    return context


def _problems() -> str:
    """What llama.cpp complained about last, in one line."""
    lines = [line.split(": ", 1)[-1] for line in _PROBLEMS]
    return "; ".join(dict.fromkeys(line for line in lines if line))
