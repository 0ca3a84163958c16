"""Messages over a pipe: four bytes of length, then an encoded value."""

from __future__ import annotations

import os
from typing import Any

from . import codec


class GoneError(Exception):
    """The other end is closed, or it sent what no honest process sends; the message says which."""


def send(fd: int, value: object) -> None:
    """Sends a value.

    Raises:
        NotPlainError: it cannot be encoded; nothing was sent.
        GoneError: nobody reads any more.
    """
    encoded = codec.encode(value)
    view = memoryview(len(encoded).to_bytes(4, "big") + encoded)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except OSError as error:
        raise GoneError("it no longer listens") from error


def receive(fd: int) -> Any:
    """The next value.

    Raises:
        GoneError: there is none, or no honest one.
    """
    size = int.from_bytes(_exactly(fd, 4), "big")
    if size > codec.MAX_BYTES:
        raise GoneError(f"it announced a message of {size} bytes")
    try:
        return codec.decode(_exactly(fd, size))
    except codec.MalformedError as error:
        raise GoneError(f"it sent a malformed message ({error})") from None


def read_all(fd: int) -> bytes:
    """Everything up to the end of a pipe."""
    chunks = []
    while chunk := os.read(fd, 2**16):
        chunks.append(chunk)
    return b"".join(chunks)


def _exactly(fd: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        try:
            chunk = os.read(fd, min(size - len(data), 2**16))
        except OSError as error:
            raise GoneError("it closed the connection") from error
        if not chunk:
            raise GoneError("it ended")
        data += chunk
    return bytes(data)
