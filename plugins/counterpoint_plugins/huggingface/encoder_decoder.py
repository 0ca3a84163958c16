"""Models with an encoder and a decoder as a backend of slots: T5 and its like, and BART."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForSeq2SeqLM,
    DynamicCache,
    EncoderDecoderCache,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

from counterpoint.plugin import EncoderShape, ModelShape, Step, StepResult, Unsupported
from counterpoint_plugins.huggingface.backend import HuggingFaceBackend
from counterpoint_plugins.huggingface.reading import NAME, Reading, ReadingPass
from counterpoint_plugins.huggingface.tokenizer import HuggingFaceTokenizer

_T5 = ("EncDecAttention.k", "EncDecAttention.v")
_KEYS_AND_VALUES = {"t5": _T5, "mt5": _T5, "umt5": _T5, "bart": ("encoder_attn.k_proj", "encoder_attn.v_proj")}
"""The architectures that are known here, by the ``model_type`` of their configuration, each with the ends of the names of what makes
the keys and values of cross-attention."""


def describe(config: PreTrainedConfig, directory: Path) -> tuple[ModelShape, int]:
    """Shape and number of weights of a model with an encoder and a decoder, from a model without storage.

    Raises:
        Unsupported: it is none of the architectures that are known here, or does not say what its decoder begins with.
    """
    if config.model_type not in _KEYS_AND_VALUES:
        raise Unsupported(
            f"{directory}: of models with an encoder and a decoder, this backend runs {', '.join(_KEYS_AND_VALUES)}, "
            f"and this one is '{config.model_type}'",
            hint="use one of these (T5 1.1, FLAN-T5 and CodeT5 are t5), or a causal model",
        )
    start_ids(config, directory)
    with torch.device("meta"):
        model: Any = AutoModelForSeq2SeqLM.from_config(config, attn_implementation=NAME)
    encoder, decoder, head = model.get_encoder(), model.get_decoder(), model.get_output_embeddings()
    ends = _KEYS_AND_VALUES[config.model_type]
    crossing = _matrices({name: module for name, module in decoder.named_modules() if name.endswith(ends)})
    heads = getattr(config, "decoder_attention_heads", None) or config.num_attention_heads
    shape = ModelShape(
        parameters=_matrices(dict(decoder.named_modules())) - crossing,
        layers=getattr(config, "decoder_layers", None) or config.num_decoder_layers,
        heads=heads,
        head_dim=getattr(config, "d_kv", None) or config.hidden_size // heads,
        hidden=config.hidden_size,
        vocabulary=config.vocab_size,
        kv_bytes=0,
        encoder=EncoderShape(
            parameters=_matrices(dict(encoder.named_modules())) + crossing,
            layers=config.num_hidden_layers,
            heads=(own := getattr(config, "encoder_attention_heads", None) or heads),
            head_dim=getattr(config, "d_kv", None) or config.hidden_size // own,
        ),
    )
    weights = sum(parameter.numel() for parameter in model.parameters())
    if head.weight is model.get_input_embeddings().weight and _stored(directory, "lm_head.weight", "shared.weight"):
        weights += head.weight.numel()  # T5's configuration does not say that these differ; the files do
    return shape, weights


def _matrices(modules: dict[str, nn.Module]) -> int:
    return sum(module.weight.numel() for module in modules.values() if isinstance(module, nn.Linear))


def _stored(directory: Path, *names: str) -> bool:
    """Whether the files hold all of some tensors."""
    from safetensors import safe_open

    held: set[str] = set()
    for file in directory.glob("*.safetensors"):
        with safe_open(file, framework="pt") as opened:
            held.update(opened.keys())
    return held.issuperset(names)


def start_ids(config: PreTrainedConfig, directory: Path) -> tuple[int, ...]:
    """What the decoder begins with: its start token, and the one that the model's settings force to be the first.

    Raises:
        Unsupported: the files do not say.
    """
    said: Any = config
    if (directory / "generation_config.json").is_file():
        said = GenerationConfig.from_pretrained(directory, local_files_only=True)
    start, forced = (
        next((value for place in (said, config) if (value := getattr(place, name, None)) is not None), None)
        for name in ("decoder_start_token_id", "forced_bos_token_id")
    )
    if start is None:
        raise Unsupported(
            f"{directory}: its configuration does not say what the decoder begins with",
            hint="set decoder_start_token_id in its config.json; in T5 that is the token that pads",
        )
    return (start,) if forced is None else (start, forced)


@contextlib.contextmanager
def no_advice_on_tying() -> Iterator[None]:
    """Keeps transformers from advising a setting that its own configuration of T5 does not take: it takes T5 1.1 for a model whose
    head is its embeddings, finds that the files say otherwise, and does as they say."""

    def other(record: logging.LogRecord) -> bool:
        return "so we will NOT tie them" not in record.getMessage()

    logger = logging.getLogger("transformers.modeling_utils")
    logger.addFilter(other)
    try:
        yield
    finally:
        logger.removeFilter(other)


class EncoderDecoderBackend(HuggingFaceBackend):
    """Ragged passes of the decoder over a cache of slots. A slot's prompt is read by the encoder as a whole, once; the slot and its
    copies share what came of it, the keys and values of cross-attention.

    Args:
        model: one of the architectures that :func:`describe` knows, with the attention of this package.
        tokenizer: its tokenizer.
        shape: as :func:`describe` says.
        context: most tokens of a prompt, and of a slot.
        stop_ids: tokens that end an answer.
        kernel: ``sdpa`` or ``eager``.
        start_ids: what the decoder begins with.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: HuggingFaceTokenizer,
        shape: ModelShape,
        *,
        context: int,
        stop_ids: frozenset[int],
        kernel: str,
        start_ids: tuple[int, ...],
    ) -> None:
        super().__init__(model, tokenizer, shape, context=context, stop_ids=stop_ids, kernel=kernel)
        self.start_ids = start_ids
        self._readings: dict[int, Reading] = {}
        self._encoder: Any = model.get_encoder()
        self._decoder: Any = model.get_decoder()
        nothing: dict[str, Any] = {"dtype": model.dtype, "device": self._device}
        self._no_states = torch.empty(1, 0, shape.hidden, **nothing)
        none = torch.empty(1, shape.heads, 0, shape.head_dim, **nothing)
        self._crossing = DynamicCache()
        for layer in range(shape.layers):
            self._crossing.update(none, none, layer)

    def copy(self, slot: int, length: int) -> int:
        new = super().copy(slot, length)
        if slot in self._readings:
            self._readings[new] = self._readings[slot]
        return new

    def free(self, slot: int) -> None:
        self._readings.pop(slot, None)
        super().free(slot)

    @torch.inference_mode()
    def forward(self, steps: Sequence[Step]) -> list[StepResult]:
        new = [step for step in steps if step.prompt]
        states = [self._read(step.prompt) for step in new]
        for step in new:
            self._readings[step.slot] = Reading(len(step.prompt))
        rows = [(step.slot, len(step.ids)) for step in steps]
        slot_pass, positions = self._cache.plan(rows, self._kernel, self._device)
        reading_pass = ReadingPass(slot_pass, self._readers(steps), [self._readings[step.slot] for step in new])
        ids = [token_id for step in steps for token_id in step.ids]
        with self._positions(positions), self._only_wanted(steps), self._head_of(steps) as hidden:
            output = self.model(
                decoder_input_ids=torch.tensor([ids], device=self._device),
                encoder_outputs=(torch.cat(states, dim=1) if states else self._no_states,),
                past_key_values=None if states else self._nothing_new(),
                use_cache=False,
                reading_pass=reading_pass,
                kernel=self._kernel,
            )
        for slot, count in rows:
            self._cache.lengths[slot] += count
        return self._split(steps, output.logits[0], hidden)

    def _read(self, prompt: Sequence[int]) -> Tensor:
        """The encoder's states of a prompt, ``[1, tokens, width]``."""
        ids = torch.tensor([list(prompt)], device=self._device)
        states = self._encoder(input_ids=ids, kernel=self._kernel).last_hidden_state
        assert isinstance(states, Tensor)
        return states

    def _readers(self, steps: Sequence[Step]) -> list[tuple[Reading, Tensor]]:
        """Every reading of a pass with the tokens that attend to it."""
        tokens: dict[int, list[int]] = {}
        at = 0
        for step in steps:
            tokens.setdefault(id(self._readings[step.slot]), []).extend(range(at, at + len(step.ids)))
            at += len(step.ids)
        readings = {id(self._readings[step.slot]): self._readings[step.slot] for step in steps}
        return [(readings[key], torch.tensor(own, device=self._device)) for key, own in tokens.items()]

    def _nothing_new(self) -> EncoderDecoderCache:
        """A cache that says that all keys and values of cross-attention are there: transformers then makes none."""
        cache = EncoderDecoderCache(DynamicCache(), self._crossing)
        cache.is_updated = dict.fromkeys(range(self.shape.layers), True)
        return cache

    @contextlib.contextmanager
    def _positions(self, positions: Tensor) -> Iterator[None]:
        """Tells a decoder with learned positions which these are; it would count them through the whole pass."""
        embedding = getattr(self._decoder, "embed_positions", None)
        if embedding is None:
            yield
            return

        def tell(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
            return given, {**named, "position_ids": positions[0]}

        hook = embedding.register_forward_pre_hook(tell, with_kwargs=True)
        try:
            yield
        finally:
            hook.remove()

    @contextlib.contextmanager
    def _only_wanted(self, steps: Sequence[Step]) -> Iterator[None]:
        """Lets the output head see only the tokens whose rows somebody wants."""
        wanted: list[int] = []
        end = 0
        for step in steps:
            end += len(step.ids)
            wanted.extend(range(end - (len(step.ids) if step.score else step.rows), end))
        at = torch.tensor(wanted, dtype=torch.long, device=self._device)

        def only(head: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor]:
            return (given[0][:, at.to(given[0].device)],)

        head = self.model.get_output_embeddings()
        assert head is not None
        hook = head.register_forward_pre_hook(only)
        try:
            yield
        finally:
            hook.remove()

    def close(self) -> None:
        self._readings.clear()
        del self._encoder, self._decoder
        super().close()
