"""Frames: four bytes of length, the most significant first, then one Route."""

from __future__ import annotations

from collections.abc import Iterator

from ovid_chat.chat_pb2 import Route

FRAME_BYTES_MAX = 64 * 1024 * 1024
"""The longest frame that is taken, in bytes without its length."""

_LENGTH_BYTES = 4
_TLS_RECORDS = range(0x14, 0x18)
_TLS_VERSION = 3


class FrameTooLong(ValueError):
    """A frame says that it is longer than is taken; nothing after it can be read."""


class Encrypted(FrameTooLong):
    """What should be a frame is a record of TLS."""


def frame(route: Route) -> bytes:
    """The bytes of one Route on a connection."""
    data: bytes = route.SerializeToString()
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


class Frames:
    """Cuts one stream into frames, however it is split into reads."""

    def __init__(self, bytes_max: int = FRAME_BYTES_MAX) -> None:
        self._buffer = bytearray()
        self._bytes_max = bytes_max

    def cut(self, data: bytes) -> Iterator[bytes]:
        """The frames that `data` completes, without their lengths. Raises `FrameTooLong`."""
        self._buffer += data
        at, buffer = 0, self._buffer
        try:
            while len(buffer) - at >= _LENGTH_BYTES:
                length = int.from_bytes(buffer[at : at + _LENGTH_BYTES], "big")
                if length > self._bytes_max:
                    # A record of TLS begins with its kind and a version of two bytes, the first of them 3.
                    if buffer[at] in _TLS_RECORDS and buffer[at + 1] == _TLS_VERSION:
                        raise Encrypted("the server speaks TLS, and this client does not (tls=, --tls)")
                    raise FrameTooLong(f"a frame of {length} bytes is longer than {self._bytes_max}")
                start = at + _LENGTH_BYTES
                if len(buffer) - start < length:
                    break
                at = start + length
                yield bytes(buffer[start:at])
        finally:
            del buffer[:at]
