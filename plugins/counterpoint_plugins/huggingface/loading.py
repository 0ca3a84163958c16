"""Finds, checks and loads models of transformers."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
)
from transformers.utils import logging

from counterpoint.plugin import CounterpointError, ModelError, ModelFacts, ModelShape, Resources, Unsupported
from counterpoint.training.learner import merged
from counterpoint_plugins.huggingface import encoder_decoder, reading
from counterpoint_plugins.huggingface.attention import NAME
from counterpoint_plugins.huggingface.backend import HuggingFaceBackend
from counterpoint_plugins.huggingface.tokenizer import HuggingFaceTokenizer

if TYPE_CHECKING:
    from counterpoint_plugins.huggingface import HuggingFaceModel

_LOADING = threading.Lock()
"""transformers builds a model in a context of the whole process: of two at once, one is left without some of its weights."""
_CACHEABLE_LAYERS = {"full_attention", "sliding_attention"}


def inspect(node: HuggingFaceModel, resources: Resources) -> ModelFacts:
    """What the files say, without weights; only the download when they are not here."""
    device = _device(node)
    found = resources.store.locate(node.source)
    for name in (node.source, node.adapter or ""):
        if name.startswith("artifact:"):
            resources.store.path(name)  # raises where it is absent: nothing can fetch it
    identity = found.key if found is not None else node.source
    key = "|".join([identity, node.dtype, node.device, str(node.quantization), _adapter_identity(node.adapter, resources)])
    if found is None or found.directory is None:
        size = resources.store.download_size(node.source)
        return ModelFacts(key, node.source, download_bytes=size or 0, device=device, dtype=node.dtype)
    config, shape, weights = _describe(found.directory)
    tokenizer = _tokenizer(found.directory)
    return ModelFacts(
        key,
        node.source,
        weight_bytes=weights * _dtype(node, config).itemsize,
        shape=_with_cache_bytes(shape, config, _dtype(node, config)),
        context=_context(config),
        has_chat_template=tokenizer.has_chat_template,
        tokenizer=tokenizer,
        device=device,
        dtype=str(_dtype(node, config)).removeprefix("torch."),
    )


def _adapter_identity(adapter: str | None, resources: Resources) -> str:
    """What tells adapters apart, one that was made anew under its old name too."""
    if adapter is None:
        return ""
    if adapter.startswith("artifact:"):
        found = resources.store.locate(adapter)
        return adapter if found is None else found.key
    weights = Path(adapter.removeprefix("path:")).expanduser() / "adapter_model.safetensors"
    if not weights.is_file():
        return adapter
    status = weights.stat()
    return f"{adapter}#stat:{status.st_size}-{status.st_mtime_ns}"


def load(node: HuggingFaceModel, resources: Resources) -> HuggingFaceBackend:
    """The model in memory.

    Raises:
        ModelError: it cannot be found, fetched, read, or does not fit.
    """
    files = resources.store.ensure(
        node.source, formats=("safetensors",), progress=resources.progress, offline=resources.offline
    )
    assert files.directory is not None
    config, shape, _ = _describe(files.directory)
    dtype = _dtype(node, config)
    device = _device(node)
    architecture: Any = AutoModelForCausalLM if shape.encoder is None else AutoModelForSeq2SeqLM
    options: dict[str, Any] = {"device_map": "auto" if device == "balanced" else device}
    if node.quantization:
        options["quantization_config"] = _quantization(node.quantization)
    try:
        with _LOADING, _no_progress_bars(), encoder_decoder.no_advice_on_tying():
            model = architecture.from_pretrained(
                files.directory,
                dtype=dtype,
                attn_implementation=NAME if shape.encoder is None else reading.NAME,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                **options,
            )
    except CounterpointError:
        raise
    except Exception as error:
        raise ModelError(
            f"cannot load {node.source}: {type(error).__name__}: {error}",
            hint=f"`counterpoint models verify {node.source}` checks the files",
        ) from error
    if node.adapter:
        with _LOADING:
            model = _adapted(model, node.adapter, resources)
    _copy_into_memory(model)
    model.eval()
    tokenizer = _tokenizer(files.directory)
    settings: dict[str, Any] = {
        "context": _context(config),
        "stop_ids": _stop_ids(files.directory, tokenizer),
        "kernel": node.attention,
    }
    shape = _with_cache_bytes(shape, config, dtype)
    if shape.encoder is None:
        return HuggingFaceBackend(model, tokenizer, shape, **settings)
    starts = encoder_decoder.start_ids(config, files.directory)
    return encoder_decoder.EncoderDecoderBackend(model, tokenizer, shape, **settings, start_ids=starts)


@torch.no_grad()
def _copy_into_memory(model: nn.Module) -> None:
    """Weights on the CPU are still the mapped file, whose pages the system may drop at any time; a pass would wait for the disk.

    (A tenth of the time that reading without a map takes: `disable_mmap`.)
    """
    for weight in model.parameters():
        if weight.device.type == "cpu" and type(weight.data) is torch.Tensor:
            weight.data = weight.data.clone()


@contextlib.contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Progress is an event here; transformers' bars would be drawn over the screen of whoever shows it."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@lru_cache(maxsize=32)
def _describe(directory: Path) -> tuple[PreTrainedConfig, ModelShape, int]:
    """The text model's config, its shape, and its number of weights, from a model without storage."""
    try:
        config = AutoConfig.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    except Exception as error:
        raise Unsupported(
            f"{directory}: transformers does not know this architecture ({error})",
            hint="a newer transformers may; remote code of model repositories is never run",
        ) from error
    if config.is_encoder_decoder:
        return config, *encoder_decoder.describe(config, directory)
    text = config.get_text_config()
    layers = set(getattr(text, "layer_types", None) or ["full_attention"])
    if not layers <= _CACHEABLE_LAYERS or getattr(text, "num_kv_shared_layers", None):
        raise Unsupported(
            f"{directory}: layers of type {', '.join(sorted(layers - _CACHEABLE_LAYERS)) or 'shared cache'} "
            "cannot be rolled back by this backend",
            hint="use a model with full or sliding-window attention throughout",
        )
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, attn_implementation=NAME)
    except (ValueError, KeyError) as error:
        raise Unsupported(f"{directory}: not a causal language model this backend can run ({error})") from error
    head = model.get_output_embeddings()
    matrices = sum(module.weight.numel() for module in model.modules() if isinstance(module, nn.Linear) and module is not head)
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    shape = ModelShape(
        parameters=matrices,
        layers=text.num_hidden_layers,
        heads=text.num_attention_heads,
        head_dim=head_dim,
        hidden=text.hidden_size,
        vocabulary=text.vocab_size,
        kv_bytes=0,
    )
    return text, shape, sum(parameter.numel() for parameter in model.parameters())


def _with_cache_bytes(shape: ModelShape, config: PreTrainedConfig, dtype: torch.dtype) -> ModelShape:
    from dataclasses import replace

    kv_heads = getattr(config, "num_key_value_heads", None) or shape.heads
    return replace(shape, kv_bytes=2 * shape.layers * kv_heads * shape.head_dim * dtype.itemsize)


@lru_cache(maxsize=32)
def _tokenizer(directory: Path) -> HuggingFaceTokenizer:
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    except Exception as error:
        raise ModelError(
            f"{directory}: cannot load its tokenizer: {error}", hint="the folder needs a tokenizer.json"
        ) from error
    return HuggingFaceTokenizer(tokenizer)


def _dtype(node: HuggingFaceModel, config: PreTrainedConfig) -> torch.dtype:
    if node.dtype == "auto":
        return getattr(config, "dtype", None) or torch.float32
    dtype = getattr(torch, node.dtype)
    assert isinstance(dtype, torch.dtype)
    return dtype


def _device(node: HuggingFaceModel) -> str:
    if node.device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    if node.device.startswith("cuda") and not torch.cuda.is_available():
        raise Unsupported(
            f"{node.source}: device '{node.device}' was asked for, but there is no CUDA GPU", hint="use `device: auto`"
        )
    return node.device


def _context(config: PreTrainedConfig) -> int:
    return int(getattr(config, "max_position_embeddings", None) or 1 << 30)


def _stop_ids(directory: Path, tokenizer: HuggingFaceTokenizer) -> frozenset[int]:
    found: set[int] = set()
    if (directory / "generation_config.json").is_file():
        eos = GenerationConfig.from_pretrained(directory, local_files_only=True).eos_token_id
        found.update(eos if isinstance(eos, list) else [eos] if eos is not None else [])
    if tokenizer.eos_id is not None:
        found.add(tokenizer.eos_id)
    return frozenset(found)


def _quantization(settings: dict[str, Any]) -> Any:
    import transformers

    options = dict(settings)
    method = str(options.pop("method", "bitsandbytes"))
    classes = {
        name.removesuffix("Config").lower(): name
        for name in dir(transformers)
        if name.endswith("Config")
        and ("Quant" in name or name in {"BitsAndBytesConfig", "TorchAoConfig", "GPTQConfig", "AwqConfig"})
    }
    name = classes.get(method.lower())
    if name is None:
        raise Unsupported(f"no quantization method '{method}' in transformers", hint=f"there are: {', '.join(sorted(classes))}")
    try:
        return getattr(transformers, name)(**options)
    except (ImportError, TypeError) as error:
        raise Unsupported(
            f"quantization '{method}': {error}", hint="check its options, and that its package is installed"
        ) from error


def _adapted(model: Any, adapter: str, resources: Resources) -> Any:
    try:
        from peft import PeftModel
    except ImportError:
        raise Unsupported(f"adapter '{adapter}' needs the peft package", hint="pip install 'counterpoint[adapters]'") from None
    path = Path(adapter)
    if adapter.startswith(("artifact:", "path:", "hf:")):
        found = resources.store.ensure(adapter)
        assert found.directory is not None
        path = found.directory
    if not (path / "adapter_config.json").is_file():
        raise ModelError(f"no peft adapter at '{adapter}'", hint="the folder needs adapter_config.json and safetensors weights")
    return merged(PeftModel.from_pretrained(model, str(path), use_safetensors=True))
