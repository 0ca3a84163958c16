from __future__ import annotations

from pathlib import Path

import pytest

from counterpoint.errors import ModelError
from counterpoint.store.gguf_header import read_header


def test_metadata_and_sizes_are_read(tiny_gguf: Path) -> None:
    header = read_header(tiny_gguf)
    assert header.metadata["general.architecture"] == "llama"
    assert header.metadata["tokenizer.ggml.tokens"] == 264  # the length alone, unless strings are asked for
    assert header.metadata["tokenizer.ggml.token_type"][:4] == [3, 3, 3, 1]
    assert header.expected_bytes <= tiny_gguf.stat().st_size
    assert header.parameters == 264 * 64 + 64 + 2 * (4 * 64 * 64 + 3 * 64 * 64 + 2 * 64)
    tokens = read_header(tiny_gguf, strings=True).metadata["tokenizer.ggml.tokens"]
    assert tokens[2] == "<|im_end|>"
    assert len(tokens) == 264


def test_a_cut_file_is_refused_wherever_it_is_cut(tiny_gguf: Path, tmp_path: Path) -> None:
    content = tiny_gguf.read_bytes()
    path = tmp_path / "cut.gguf"
    for length in [1, 3, 4, 8, 20, *range(24, len(content) - 64, 997)]:
        path.write_bytes(content[:length])
        with pytest.raises(ModelError, match=r"cut\.gguf"):
            read_header(path)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"GGUF" + (99).to_bytes(4, "little") + bytes(16)])
def test_other_content_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        read_header(path)
    assert str(path) in caught.value.message
    assert caught.value.hint
