"""Tiny transformers models with random weights, made on the spot: real architectures for tests that download nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

Architecture = Literal["full", "grouped", "sliding"]

_COMMON: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "eos_token_id": 256,
    "pad_token_id": 256,
}
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
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoModelForCausalLM, Gemma3TextConfig, LlamaConfig, PreTrainedTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={char: index for index, char in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>", pad_token="<end>")
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
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():  # wider than the usual start, so that distributions differ visibly
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    return folder
