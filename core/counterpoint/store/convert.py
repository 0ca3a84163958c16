"""Convert a GGUF file into a transformers folder: ``python -m counterpoint.store.convert GGUF OUT``.

It runs in a process of its own, so that its memory (a few times the converted size) goes back to the system and a kill
leaves only a temporary folder. Standard output carries one JSON object a line: ``{"step": …, "done": n}`` while
working, ``{"error": kind, "message": …, "hint": …}`` before a failing exit. The folder is not put in place here: the
store does that, after checking it.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from counterpoint.errors import ModelError, Unsupported
from counterpoint.store.progress import CONVERSION_STEPS


def convert(gguf: Path, out: Path) -> None:
    """Write ``gguf`` into ``out``: bfloat16 safetensors, ``tokenizer.json``, configurations, chat template.

    Raises:
        Unsupported: transformers has no loader for this architecture, or the tokenizer's rules are unknown.
        ModelError: the file is damaged, or the tokenizer that came out differs from the file's.
        OSError: the disk is full or the folder cannot be written.
    """
    _step("read")
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GgufConfig, PreTrainedTokenizerFast
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    from counterpoint.store import gguf_tokenizer, gguf_vocabulary
    from counterpoint.store.gguf_header import read_header

    metadata = read_header(gguf, strings=True).metadata
    architecture = metadata["general.architecture"]
    if architecture not in GGUF_SUPPORTED_ARCHITECTURES:
        raise Unsupported(
            f"transformers cannot read GGUF files of architecture {architecture!r}",
            hint="use the model's safetensors form, or a llama.cpp backend, which reads the GGUF file itself",
        )

    _step("weights")
    # dequantize: on a machine with a GPU transformers would keep the blocks packed, which cannot be saved.
    model = AutoModelForCausalLM.from_pretrained(
        str(gguf.parent),
        gguf_file=gguf.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
        local_files_only=True,
    )
    _forget_quantization(model)
    ends = gguf_vocabulary.end_ids(metadata)
    model.config.eos_token_id = ends
    model.generation_config = GenerationConfig(
        bos_token_id=model.config.bos_token_id, eos_token_id=ends, pad_token_id=model.config.pad_token_id
    )

    _step("tokenizer")
    loaded = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name, local_files_only=True)
    backend = gguf_tokenizer.correct(json.loads(loaded.backend_tokenizer.to_str()), metadata)
    # The generic class keeps tokenizer.json as it is; the model-specific ones rebuild parts of it when they load.
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(backend)), **gguf_tokenizer.settings(metadata)
    )

    _step("write")
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(str(out))
    tokenizer.save_pretrained(str(out), save_jinja_files=False)
    for path in out.iterdir():
        path.chmod(0o644)

    _step("check")
    gguf_tokenizer.check(out / "tokenizer.json", metadata)


def _forget_quantization(model: Any) -> None:
    """Make a dequantised model an ordinary one: ``save_pretrained`` refuses it while it carries these marks."""
    model.hf_quantizer = None
    model.is_quantized = False
    for name in ("quantization_config", "_pre_quantization_dtype", "_model_name_or_path"):
        if hasattr(model.config, name):
            delattr(model.config, name)


def _step(name: str) -> None:
    _say({"step": name, "done": CONVERSION_STEPS.index(name)})


def _say(message: dict[str, str | int]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _exit_with_parent() -> None:
    """End this process when the one that started it is gone: its end of our standard input then closes."""

    def watch() -> None:
        # not sys.stdin: a thread that holds its lock makes the interpreter's own exit fail
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def failure(error: BaseException) -> dict[str, str | int]:
    """What the store is told: the kind of exception (``disk``, ``unsupported``, ``model``, ``other``) and its text."""
    text = f"{type(error).__name__}: {error}"
    # safetensors wraps the operating system's error in its own class, keeping only the text
    if (isinstance(error, OSError) and error.errno == errno.ENOSPC) or "No space left on device" in text:
        return {"error": "disk", "message": text, "hint": ""}
    if isinstance(error, ModelError):
        kind = "unsupported" if isinstance(error, Unsupported) else "model"
        return {"error": kind, "message": error.message, "hint": error.hint}
    return {"error": "other", "message": text, "hint": ""}


def main(arguments: list[str]) -> int:
    """Entry point; returns the exit status."""
    if len(arguments) != 2:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    _exit_with_parent()
    try:
        convert(Path(arguments[0]).resolve(), Path(arguments[1]))
    except Exception as error:  # noqa: BLE001 - whatever it is, the store is told
        traceback.print_exc()
        _say(failure(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
