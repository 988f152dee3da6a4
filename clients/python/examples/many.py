"""Sends many messages from one user to another, each acknowledged: python many.py HOW_MANY SERVER..."""

from __future__ import annotations

import asyncio
import sys
import time

from ovid_chat import AsyncClient


async def main() -> None:
    count, servers = int(sys.argv[1]), sys.argv[2:]
    async with AsyncClient("ann", "secret-a", servers) as ann, AsyncClient("bob", "secret-b", servers) as bob:
        await ann.register(exist_ok=True)
        await bob.register(exist_ok=True)
        start = time.monotonic()
        pending = [ann.post("bob", f"message {number}") for number in range(count)]
        received = 0
        async for _ in bob.messages():
            received += 1
            if received == count:
                break
        await asyncio.gather(*pending)
        print(f"{count} messages sent and received in {time.monotonic() - start:.2f} s")


if __name__ == "__main__":
    asyncio.run(main())
