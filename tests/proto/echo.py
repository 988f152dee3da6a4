"""Reads frames of the chat and writes each one twice: encoded again, and made anew of its fields' values.

Exit status 3: this Python has no protobuf.
"""

from __future__ import annotations

import sys

try:
    from google.protobuf import json_format
except ImportError:
    sys.exit(3)

from ovid_chat.chat_pb2 import Route


def main() -> None:
    while len(length := sys.stdin.buffer.read(4)) == 4:
        frame = sys.stdin.buffer.read(int.from_bytes(length, "big"))
        route = Route.FromString(frame)
        bytes_before = route.ByteSize()
        route.DiscardUnknownFields()
        if route.ByteSize() != bytes_before:
            sys.exit(f"a field is not known here: {route}")
        by_values = json_format.ParseDict(json_format.MessageToDict(route), Route())
        for answer in (route, by_values):
            data = answer.SerializeToString()
            sys.stdout.buffer.write(len(data).to_bytes(4, "big") + data)


if __name__ == "__main__":
    main()
