"""Tiny models with random weights, made on the spot: real architectures for tests that download nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

Architecture = Literal["full", "grouped", "sliding"]
EncoderDecoder = Literal["t5", "gated", "mt5", "umt5", "bart"]

_COMMON: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "eos_token_id": 256,
    "pad_token_id": 256,
}
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
"""Control tokens of the tiny GGUF model."""
_PADDING = ("[PAD1]", "[PAD2]")
_MESSAGES = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
_CHAT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"


def save_tiny_model(folder: Path, architecture: Architecture = "grouped", *, seed: int = 0, layers: int = 2) -> Path:
    """Writes a model folder (safetensors, config, byte-level tokenizer with a chat template) and returns it.

    Args:
        folder: where to; made when absent.
        architecture: ``full`` and ``grouped`` (fewer key-value heads) are Llama; ``sliding`` is Gemma 3, whose layers attend to
            a window of 8 tokens and to everything in turn.
        seed: of the weights; equal seeds make equal models.
        layers: how many.
    """
    from transformers import AutoModelForCausalLM, Gemma3TextConfig, LlamaConfig, PreTrainedTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=_bytes(), eos_token="<end>", pad_token="<end>")
    tokenizer.chat_template = _CHAT
    tokenizer.save_pretrained(folder)
    size = len(tokenizer)
    config: Any
    if architecture == "sliding":
        config = Gemma3TextConfig(
            **_COMMON,
            vocab_size=size + 7,
            num_hidden_layers=2 * layers,
            num_key_value_heads=1,
            head_dim=8,
            sliding_window=8,
            layer_types=["sliding_attention", "full_attention"] * layers,
        )
    else:
        heads = 4 if architecture == "full" else 2
        config = LlamaConfig(**_COMMON, vocab_size=size + 7, num_hidden_layers=layers, num_key_value_heads=heads)
    _save_random(AutoModelForCausalLM, config, folder, seed)
    return folder


def save_tiny_encoder_decoder(
    folder: Path, architecture: EncoderDecoder = "t5", *, seed: int = 0, layers: int = 2, context: int = 512
) -> Path:
    """Writes the folder of a model with an encoder and a decoder, and returns it. Its byte-level tokenizer puts ``<end>`` behind
    what the encoder reads, and has no chat template.

    Args:
        folder: where to; made when absent.
        architecture: ``t5`` (one matrix for embeddings and head), ``gated`` (T5 1.1: two, and gated layers), ``mt5``, ``umt5`` or
            ``bart``, whose positions are learned.
        seed: of the weights; equal seeds make equal models.
        layers: of the decoder; the encoder has one more.
        context: longest text of encoder and decoder, in tokens (``bart``; T5's positions are relative).
    """
    from tokenizers import processors
    from transformers import (
        AutoModelForSeq2SeqLM,
        BartConfig,
        MT5Config,
        PreTrainedTokenizerFast,
        T5Config,
        UMT5Config,
    )

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=_bytes(), eos_token="<end>", pad_token="<pad>")
    end = [("<end>", tokenizer.eos_token_id)]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing("$A <end>", special_tokens=end)
    tokenizer.save_pretrained(folder)
    common: dict[str, Any] = {
        "vocab_size": len(tokenizer) + 7,
        "d_model": 32,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "decoder_start_token_id": tokenizer.pad_token_id,
    }
    config: Any
    if architecture == "bart":
        widths = {"encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "encoder_attention_heads": 2, "decoder_attention_heads": 4}
        config = BartConfig(
            **common | widths,
            encoder_layers=layers + 1,
            decoder_layers=layers,
            max_position_embeddings=context,
            bos_token_id=None,
            forced_eos_token_id=None,
            tie_word_embeddings=False,  # a random model whose head is its embeddings repeats itself
        )
    else:
        kind = {"t5": T5Config, "gated": T5Config, "mt5": MT5Config, "umt5": UMT5Config}[architecture]
        forward = "relu" if architecture == "t5" else "gated-gelu"
        own = {"tie_word_embeddings": False} if architecture == "gated" else {}
        config = kind(
            **common | own,
            d_kv=16,  # not the width divided by the heads
            d_ff=64,
            num_layers=layers + 1,
            num_decoder_layers=layers,
            num_heads=4,
            relative_attention_num_buckets=8,
            relative_attention_max_distance=20,
            feed_forward_proj=forward,
        )
    _save_random(AutoModelForSeq2SeqLM, config, folder, seed, untied=architecture == "gated")
    return folder


def _bytes() -> Any:
    """A tokenizer with a token for every byte."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={char: index for index, char in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return core


def _save_random(kind: Any, config: Any, folder: Path, seed: int, *, untied: bool = False) -> None:
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind.from_config(config)
        if untied:
            model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.lm_head.weight))
        for parameter in model.parameters():  # wider than the usual start, so that distributions differ visibly
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)


def save_tiny_gguf(
    path: Path,
    *,
    architecture: str = "llama",
    pre: str = "smollm",
    seed: int = 0,
    spread: float = 0.1,
    context: int = 128,
    vocabulary: bool = True,
) -> Path:
    """Writes a random two-layer Llama as a GGUF file, with a byte-level vocabulary of 264 rows of which two are padding.

    Args:
        path: the file.
        architecture: what the file calls itself.
        pre: its pre-tokenizer.
        seed: of the weights.
        spread: their standard deviation; larger ones make surer distributions.
        context: longest text, in tokens.
        vocabulary: whether the tokens are in the file.
    """
    import gguf
    import numpy as np

    hidden, layers, heads, feed = 64, 2, 2, 64  # heads of 32: a block of the quantised caches
    tokens = [*SPECIAL_TOKENS, *_byte_alphabet(), "ĠĠ", "Ġ1", "Ġa", *_PADDING]
    types = [3] * len(SPECIAL_TOKENS) + [1] * (len(tokens) - len(SPECIAL_TOKENS) - len(_PADDING)) + [5] * len(_PADDING)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("tiny")
    writer.add_license("mit")
    writer.add_context_length(context)
    writer.add_embedding_length(hidden)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(feed)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(hidden // heads)
    writer.add_vocab_size(len(tokens))
    if vocabulary:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_list(tokens)
        writer.add_token_types(types)
        writer.add_token_merges(["Ġ Ġ", "Ġ 1", "Ġ a"])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_pad_token_id(2)
        writer.add_unk_token_id(0)
        writer.add_add_bos_token(True)
        writer.add_chat_template(_MESSAGES)
    random = np.random.default_rng(seed)

    def tensor(name: str, *shape: int) -> None:
        writer.add_tensor(name, random.normal(0, spread, shape).astype(np.float32))

    tensor("token_embd.weight", len(tokens), hidden)
    tensor("output_norm.weight", hidden)
    for layer in range(layers):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensor(f"blk.{layer}.{name}.weight", hidden, hidden)
        tensor(f"blk.{layer}.ffn_gate.weight", feed, hidden)
        tensor(f"blk.{layer}.ffn_up.weight", feed, hidden)
        tensor(f"blk.{layer}.ffn_down.weight", hidden, feed)
        tensor(f"blk.{layer}.attn_norm.weight", hidden)
        tensor(f"blk.{layer}.ffn_norm.weight", hidden)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _byte_alphabet() -> list[str]:
    """The 256 characters in which byte-level vocabularies spell bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + number) for number in range(len(others))]
