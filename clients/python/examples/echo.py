"""A user who answers every message with the same text: python echo.py NAME PASSWORD SERVER..."""

from __future__ import annotations

import sys

from ovid_chat import Client


def main() -> None:
    user, password, *servers = sys.argv[1:]
    with Client(user, password, servers) as chat:
        chat.register(exist_ok=True)
        for message in chat.messages():
            to = message.to if message.is_group else message.sender
            print(f"{message.sender}: {message.text}", flush=True)
            # Not waited for: it is sent in its order, and again if a server dies.
            chat.post(to, message.text, group=message.is_group)


if __name__ == "__main__":
    main()
