"""The four catalogue models as they lie in this machine's store, against the files they were made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from counterpoint.store import ModelStore, builtin_catalogue
from counterpoint.store.gguf_header import read_header

pytestmark = pytest.mark.slow

ENDS = {
    "smollm2-135m-instruct": [2, 0],
    "gemma-3-270m": [1, 106],
    "qwen2.5-coder-0.5b-instruct": [151645, 151643],
    "qwen2.5-coder-1.5b-instruct": [151645, 151643],
}
CONTROL, USER_DEFINED, UNUSED = 3, 4, 5


@pytest.fixture(scope="module", params=sorted(builtin_catalogue().models))
def model(request: pytest.FixtureRequest) -> tuple[str, Path, dict[str, Any]]:
    name: str = request.param
    files = ModelStore().ensure(name, formats=("safetensors", "gguf"))
    assert files.directory is not None
    assert files.gguf is not None
    return name, files.directory, read_header(files.gguf, strings=True).metadata


@pytest.fixture(scope="module")
def tokenizer(model: tuple[str, Path, dict[str, Any]]) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model[1])


def test_every_token_is_that_of_the_file(model: tuple[str, Path, dict[str, Any]], tokenizer: Any) -> None:
    _, _, metadata = model
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    used = [number for number, kind in enumerate(types) if kind != UNUSED]
    assert used == list(range(len(tokenizer)))
    assert tokenizer.convert_ids_to_tokens(used) == [tokens[number].replace(" ", "\u2581") for number in used]
    added = tokenizer.added_tokens_decoder
    assert {number for number, token in added.items() if token.special} == {i for i in used if types[i] == CONTROL}
    assert {number for number, token in added.items() if not token.special} == {i for i in used if types[i] == USER_DEFINED}
    assert tokenizer.decode([len(tokenizer)]) == "" or len(tokenizer) == len(tokens)


def test_special_tokens_begin_token_and_template(model: tuple[str, Path, dict[str, Any]], tokenizer: Any) -> None:
    name, folder, metadata = model
    for ours, theirs in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"), ("unk", "unknown")):
        assert getattr(tokenizer, f"{ours}_token_id") == metadata.get(f"tokenizer.ggml.{theirs}_token_id")
    bos = [metadata["tokenizer.ggml.bos_token_id"]] if metadata["tokenizer.ggml.add_bos_token"] else []
    assert tokenizer("x")["input_ids"] == bos + tokenizer("x", add_special_tokens=False)["input_ids"]
    assert tokenizer.chat_template == metadata.get("tokenizer.chat_template")
    assert (tokenizer.chat_template is None) == (name == "gemma-3-270m")
    for file in ("config.json", "generation_config.json"):
        assert json.loads((folder / file).read_text())["eos_token_id"] == ENDS[name]


def test_all_ways_to_load_the_tokenizer_agree_and_text_comes_back(
    model: tuple[str, Path, dict[str, Any]], tokenizer: Any
) -> None:
    from tokenizers import Tokenizer

    direct = Tokenizer.from_file(str(model[1] / "tokenizer.json"))
    here = Path(__file__).read_text()
    for text in ("a  1", "x = 12  # 34", " é", "\t\ty\n\n\n", "中文 😀", " " * 40 + "x", here):
        ids = tokenizer(text)["input_ids"]
        assert direct.encode(text).ids == ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_where_the_published_tokenizers_differ_from_a_plain_reading(
    model: tuple[str, Path, dict[str, Any]], tokenizer: Any
) -> None:
    name = model[0]

    def tokens(text: str) -> list[str]:
        result: list[str] = tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False)["input_ids"])
        return result

    if name == "smollm2-135m-instruct":
        assert tokens("a  1") == ["a", "ĠĠ", "1"]  # digits are split off first
    elif name == "gemma-3-270m":
        assert [len(token) for token in tokens(" " * 40 + "x")] == [31, 9, 1]  # the longest run of spaces first
    else:
        assert tokens("e\u0301") == tokens("\u00e9")  # NFC
        assert len(tokenizer) == 151665


def test_weights_are_the_dequantised_ones(model: tuple[str, Path, dict[str, Any]]) -> None:
    import gguf
    import numpy as np
    import torch
    from safetensors import safe_open

    name, folder, _ = model
    path = ModelStore().ensure(name, formats=("gguf",)).gguf
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(str(path)).tensors}
    names = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.layers.3.mlp.down_proj.weight": "blk.3.ffn_down.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    with safe_open(folder / "model.safetensors", "pt") as weights:
        assert ("lm_head.weight" in weights.keys()) == ("output.weight" in tensors)  # noqa: SIM118 - not a mapping
        for ours, theirs in names.items():
            if theirs not in tensors:
                continue
            expected = gguf.dequantize(tensors[theirs].data, tensors[theirs].tensor_type)
            if name == "gemma-3-270m" and theirs == "output_norm.weight":
                expected = expected - 1  # Gemma's norms are stored as 1 + weight
            actual = weights.get_tensor(ours)
            assert actual.dtype == torch.bfloat16
            assert torch.equal(actual, torch.from_numpy(np.copy(expected)).to(torch.bfloat16)), ours


def test_nothing_on_disk_has_changed(model: tuple[str, Path, dict[str, Any]]) -> None:
    assert ModelStore().verify(model[0]) == []
