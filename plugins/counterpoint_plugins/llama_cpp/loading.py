"""Finds, checks and loads GGUF models."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from counterpoint.plugin import ModelError, ModelFacts, ModelShape, Resources, Unsupported

try:
    import llama_cpp
except (ImportError, OSError, RuntimeError) as error:
    raise Unsupported(
        f"the kind 'llama_cpp' needs the package llama-cpp-python ({error})",
        hint="pip install 'counterpoint[llama-cpp]' (it is compiled, which takes minutes), or use kind huggingface",
    ) from None

from counterpoint_plugins.llama_cpp.library import Model, new_context
from counterpoint_plugins.llama_cpp.tokenizer import LlamaCppTokenizer

if TYPE_CHECKING:
    from counterpoint_plugins.llama_cpp import LlamaCppModel
    from counterpoint_plugins.llama_cpp.backend import LlamaCppBackend

_KV_TYPES = {  # name → number of the type in GGUF, bytes per value
    "f32": (0, 4.0),
    "f16": (1, 2.0),
    "bf16": (30, 2.0),
    "q8_0": (8, 34 / 32),
    "q4_0": (2, 18 / 32),
}
_ROWS = 128
"""Sequences in the cache, those of closed sessions included; more rows wait for their turn."""


def inspect(node: LlamaCppModel, resources: Resources) -> ModelFacts:
    """What the file says, without its weights; only the download when it is not here."""
    if node.source.startswith("artifact:"):
        raise Unsupported(
            f"{node.source} is what a trainer makes, and no GGUF file, which llama.cpp needs",
            hint="use kind huggingface for it; a graph may mix both",
        )
    found = resources.store.locate(node.source)
    identity = found.key if found is not None else node.source
    key = f"llama_cpp|{identity}|{node.context}|{node.threads}|{node.gpu_layers}|{node.batch_size}|{node.kv_type}"
    device = "gpu" if node.gpu_layers and llama_cpp.llama_supports_gpu_offload() else "cpu"
    if found is None:
        size = resources.store.download_size(node.source)
        return ModelFacts(key, node.source, download_bytes=size or 0, device=device)
    if found.gguf is None:
        raise Unsupported(
            f"{node.source} is no GGUF file, which llama.cpp needs",
            hint="use kind huggingface for it, or a GGUF file of the model",
        )
    header = resources.store.gguf_header(found.gguf)
    shape = _shape(header, node.kv_type)
    tokenizer = _tokenizer(found.gguf, header)
    row_tokens = min(node.context, _trained_context(header))
    return ModelFacts(
        key,
        node.source,
        weight_bytes=found.gguf.stat().st_size,
        shape=shape,
        context=row_tokens,
        has_chat_template=tokenizer.has_chat_template,
        tokenizer=tokenizer,
        device=device,
        dtype=header.file_type,
        cache_bytes=shape.kv_bytes * node.context,
    )


def load(node: LlamaCppModel, resources: Resources) -> LlamaCppBackend:
    """The model in memory.

    Raises:
        ModelError: it cannot be found, fetched, read, or does not fit.
    """
    store = resources.store
    files = store.ensure(node.source, formats=("gguf",), progress=resources.progress, offline=resources.offline)
    assert files.gguf is not None
    header = store.gguf_header(files.gguf)
    try:
        with ThreadPoolExecutor(1) as thread:  # torch is imported meanwhile, which takes as long
            loading = thread.submit(Model, files.gguf, gpu_layers=node.gpu_layers)
            from counterpoint_plugins.llama_cpp.backend import LlamaCppBackend

            model = loading.result()
    except RuntimeError as error:
        raise ModelError(
            f"llama.cpp cannot load {node.source}: {error}", hint=f"`counterpoint models verify {node.source}` checks the file"
        ) from None
    if llama_cpp.llama_model_is_recurrent(model.pointer) or llama_cpp.llama_model_is_hybrid(model.pointer):
        model.close()
        raise Unsupported(
            f"{node.source}: a recurrent model's state cannot be rolled back", hint="use a model with attention throughout"
        )
    try:
        context = new_context(model, _options(node))
    except RuntimeError as error:
        model.close()
        need = _shape(header, node.kv_type).kv_bytes * node.context
        raise ModelError(
            f"llama.cpp cannot make a context of {node.context} tokens for {node.source} ({need / 1e9:.1f} GB): {error}",
            hint="lower the node's `context`, or set `kv_type: q8_0`",
        ) from None
    return LlamaCppBackend(
        model,
        context,
        LlamaCppTokenizer(model, header.vocabulary),
        _shape(header, node.kv_type),
        row_tokens=min(node.context, _trained_context(header)),
        stop_ids=header.vocabulary.end_ids,
    )


def _options(node: LlamaCppModel) -> Any:
    options = llama_cpp.llama_context_default_params()
    options.n_ctx = node.context
    options.n_batch = max(node.batch_size, _ROWS)
    options.n_ubatch = node.batch_size
    options.n_seq_max = _ROWS
    options.n_threads = options.n_threads_batch = node.threads or psutil.cpu_count(logical=False) or 1
    options.type_k = options.type_v = _KV_TYPES[node.kv_type][0]
    options.kv_unified = True  # any row may use all of the cache, and rows share what they have in common
    options.swa_full = True  # a window that has slid could not be rolled back
    options.no_perf = True
    return options


@lru_cache(maxsize=32)
def _vocabulary_of(path: Path, changed: int) -> Model:
    return Model(path, vocabulary_only=True)


def _tokenizer(path: Path, header: Any) -> LlamaCppTokenizer:
    try:
        model = _vocabulary_of(path, path.stat().st_mtime_ns)
    except RuntimeError as error:
        raise ModelError(
            f"llama.cpp cannot read {path}: {error}",
            hint="a newer llama-cpp-python may know this model; or use kind huggingface",
        ) from None
    return LlamaCppTokenizer(model, header.vocabulary)


def _trained_context(header: Any) -> int:
    return int(header.of_architecture("context_length", 1 << 30))


def _shape(header: Any, kv_type: str) -> ModelShape:
    heads = _number(header.of_architecture("attention.head_count", 1))
    kv_heads = _number(header.of_architecture("attention.head_count_kv", heads))
    hidden = int(header.of_architecture("embedding_length"))
    head_dim = int(header.of_architecture("attention.key_length", hidden // heads))
    layers = int(header.of_architecture("block_count"))
    return ModelShape(
        parameters=header.matrix_parameters,
        layers=layers,
        heads=heads,
        head_dim=head_dim,
        hidden=hidden,
        vocabulary=header.vocabulary.rows,
        kv_bytes=round(2 * layers * kv_heads * head_dim * _KV_TYPES[kv_type][1]),
    )


def _number(value: Any) -> int:
    """A count that some files give per layer."""
    return max(value) if isinstance(value, list) else int(value)
