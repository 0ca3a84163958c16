"""Reading the header of a GGUF file: metadata, tensor table, and whether the file is whole.

Only the standard library is used, because the store looks at headers before (and often instead of) loading torch.
Format: magic ``GGUF``, version, tensor count, key count, the keys, the tensor table, padding, the tensor data.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Final

from counterpoint.errors import ModelError
from counterpoint.store.gguf_vocabulary import GgufVocabulary

# Value types of the metadata: number → struct code; 8 is a string, 9 an array.
_CODES: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING: Final = 8
_ARRAY: Final = 9

# Tensor types: number → (weights in a block, bytes of a block).
_BLOCKS: Final = {
    0: (1, 4),  # F32
    1: (1, 2),  # F16
    2: (32, 18),  # Q4_0
    3: (32, 20),  # Q4_1
    6: (32, 22),  # Q5_0
    7: (32, 24),  # Q5_1
    8: (32, 34),  # Q8_0
    9: (32, 36),  # Q8_1
    10: (256, 84),  # Q2_K
    11: (256, 110),  # Q3_K
    12: (256, 144),  # Q4_K
    13: (256, 176),  # Q5_K
    14: (256, 210),  # Q6_K
    15: (256, 292),  # Q8_K
    16: (256, 66),  # IQ2_XXS
    17: (256, 74),  # IQ2_XS
    18: (256, 98),  # IQ3_XXS
    19: (256, 50),  # IQ1_S
    20: (32, 18),  # IQ4_NL
    21: (256, 110),  # IQ3_S
    22: (256, 82),  # IQ2_S
    23: (256, 136),  # IQ4_XS
    24: (1, 1),  # I8
    25: (1, 2),  # I16
    26: (1, 4),  # I32
    27: (1, 8),  # I64
    28: (1, 8),  # F64
    29: (256, 56),  # IQ1_M
    30: (1, 2),  # BF16
    34: (256, 54),  # TQ1_0
    35: (256, 66),  # TQ2_0
    39: (32, 17),  # MXFP4
}


@dataclass(frozen=True)
class GgufHeader:
    """What a GGUF file says about itself.

    Attributes:
        metadata: keys as written in the file; string arrays only when they were asked for (else their length).
        shapes: the dimensions of every tensor, by name.
        expected_bytes: the least size the file must have to hold every tensor it lists.
    """

    metadata: dict[str, Any] = field(repr=False)
    shapes: dict[str, tuple[int, ...]] = field(repr=False)
    expected_bytes: int

    @property
    def parameters(self) -> int:
        """Number of weights in all tensors."""
        return sum(map(prod, self.shapes.values()))

    @property
    def matrix_parameters(self) -> int:
        """Number of weights in matrices, without the embedding and the output head."""
        return sum(
            prod(shape)
            for name, shape in self.shapes.items()
            if len(shape) > 1 and not name.startswith(("token_embd.", "output."))
        )

    @property
    def file_type(self) -> str:
        """How most weights are stored (``Q4_K_M``); empty when the file does not say."""
        import gguf

        number = int(self.metadata.get("general.file_type", -1))
        try:
            return gguf.LlamaFileType(number).name.removeprefix("MOSTLY_").removeprefix("ALL_")
        except ValueError:
            return ""

    @cached_property
    def vocabulary(self) -> GgufVocabulary:
        """Its tokens (of a header that was read with its strings).

        Raises:
            ModelError: it has none.
        """
        if not isinstance(self.metadata.get("tokenizer.ggml.tokens"), list):
            raise ModelError("the GGUF file has no vocabulary", hint="get a file that was made with its tokenizer")
        return GgufVocabulary.of(self.metadata)

    def of_architecture(self, name: str, default: Any = None) -> Any:
        """A setting of the model's architecture.

        Raises:
            ModelError: the file lacks it, and there is no default.
        """
        key = f"{self.metadata['general.architecture']}.{name}"
        found = self.metadata.get(key, default)
        if found is None:
            raise ModelError(f"the GGUF file does not say its {key}", hint="it may not be a language model; get another file")
        return found


class _Reader:
    """A cursor over the mapped file. Reading past the end raises ``struct.error`` or ``ValueError``."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self.position = 0

    def numbers(self, code: str, count: int = 1) -> tuple[Any, ...]:
        layout = struct.Struct(f"<{count}{code}")
        values = layout.unpack_from(self._data, self.position)
        self.position += layout.size
        return values

    def string(self) -> str:
        (length,) = self.numbers("Q")
        end = self.position + length
        if end > len(self._data):
            raise ValueError("a string runs past the end of the file")
        text = self._data[self.position : end].decode("utf-8")
        self.position = end
        return text

    def strings(self, count: int) -> list[str]:
        """So many strings, in a loop of its own: a vocabulary has a quarter of a million."""
        data, position, length_at = self._data, self.position, struct.Struct("<Q").unpack_from
        found = []
        for _ in range(count):
            (length,) = length_at(data, position)
            position += 8 + length
            found.append(data[position - length : position].decode("utf-8"))
        if position > len(data):
            raise ValueError("a string runs past the end of the file")
        self.position = position
        return found

    def skip_strings(self, count: int) -> None:
        data, position, length_at = self._data, self.position, struct.Struct("<Q").unpack_from
        for _ in range(count):
            position += 8 + length_at(data, position)[0]
        self.position = position

    def value(self, kind: int, *, strings: bool) -> Any:
        if kind in _CODES:
            return self.numbers(_CODES[kind])[0]
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            raise ValueError(f"unknown metadata type {kind}")
        element, count = self.numbers("I")[0], self.numbers("Q")[0]
        if element in _CODES:
            return list(self.numbers(_CODES[element], count))
        if element != _STRING:
            raise ValueError(f"unknown array type {element}")
        if strings:
            return self.strings(count)
        self.skip_strings(count)
        return count


def read_header(path: Path, *, strings: bool = False) -> GgufHeader:
    """The header of the GGUF file at ``path``.

    Args:
        path: the file.
        strings: also return arrays of strings (a vocabulary) instead of their lengths; but never merges, which nobody asks for.

    Raises:
        ModelError: the file is not GGUF, is of an unknown version, or ends before its header or its tensors do.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[:4] != b"GGUF":
                raise ModelError(
                    f"{path} is not a GGUF file (it starts with {data[:4]!r}, not b'GGUF')",
                    hint="check what was downloaded; a safetensors model is given as the folder that holds it",
                )
            header = _parse(_Reader(data), strings=strings)
            size = len(data)
    except (struct.error, ValueError, OverflowError, MemoryError) as error:
        raise ModelError(f"{path} is damaged or cut short: {error}", hint=_FETCH_AGAIN) from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error}", hint="check the path and its permissions") from error
    if size < header.expected_bytes:
        message = f"{path} is cut short: {size} bytes, but its tensors need {header.expected_bytes}"
        raise ModelError(message, hint=_FETCH_AGAIN)
    return header


_FETCH_AGAIN: Final = "get the file again; for a model of the catalogue: `counterpoint models verify NAME` and `… pull NAME`"


def _parse(reader: _Reader, *, strings: bool) -> GgufHeader:
    reader.position = 4
    (version,) = reader.numbers("I")
    if version not in (2, 3):
        raise ValueError(f"GGUF version {version} (2 and 3 are known)")
    tensors, keys = reader.numbers("Q", 2)
    metadata: dict[str, Any] = {}
    for _ in range(keys):
        key = reader.string()
        (kind,) = reader.numbers("I")
        metadata[key] = reader.value(kind, strings=strings and not key.endswith(".merges"))
    if "general.architecture" not in metadata:
        raise ValueError("no general.architecture in its metadata")
    shapes: dict[str, tuple[int, ...]] = {}
    end = 0
    for _ in range(tensors):
        name = reader.string()
        (dimensions,) = reader.numbers("I")
        shapes[name] = reader.numbers("Q", dimensions)
        weights = prod(shapes[name])
        kind, offset = reader.numbers("I")[0], reader.numbers("Q")[0]
        block, size = _BLOCKS.get(kind, (1, 0))  # a type newer than this table: its size is not checked
        end = max(end, offset + weights // block * size)
    alignment = int(metadata.get("general.alignment", 32))
    start = -(-reader.position // alignment) * alignment
    return GgufHeader(metadata, shapes, start + end)
