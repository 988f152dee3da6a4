"""The chat in a terminal: `ovid-chat --server HOST:PORT --user NAME`."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence

from ovid_chat.aio import AsyncClient
from ovid_chat.errors import ChatError, WrongPassword
from ovid_chat.talk import Quit, Talk

SLOW_AFTER_S = 2
"""After this time it is told that it takes so long."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs it; the exit status."""
    options = _options(arguments)
    try:
        client = _client(options)
    except (EOFError, KeyboardInterrupt):
        # While it asked for the password.
        print(file=sys.stderr)
        return 130
    except (OSError, ValueError) as error:
        print(f"ovid-chat: {error}", file=sys.stderr)
        return 2
    is_plain = options.plain or not (sys.stdin.isatty() and sys.stdout.isatty())
    read = (None if is_plain else _nicely()) or _plain
    try:
        return asyncio.run(_until_ctrl_c(_run(client, read, options.register)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="ovid-chat",
        description="The chat in a terminal.",
        epilog="The password is asked for or taken from OVID_CHAT_PASSWORD, discovery's secret from OVID_CHAT_SECRET.",
    )
    parser.add_argument("--user", required=True, metavar="NAME", help="who you are")
    parser.add_argument(
        "--server",
        action="append",
        default=[],
        metavar="HOST:PORT",
        help="a server; more than one may be given",
    )
    parser.add_argument(
        "--discovery",
        action="append",
        default=[],
        metavar="HOST:PORT",
        help="where to ask for a server, by UDP",
    )
    parser.add_argument("--group-tag", default="", metavar="TAG", help="the cluster, for discovery")
    parser.add_argument("--register", action="store_true", help="register the user if the name is free")
    parser.add_argument("--tls", action="store_true", help="encrypt the connection")
    parser.add_argument(
        "--ca", metavar="FILE", help="trust the authority in this file (PEM), and no other; implies --tls"
    )
    parser.add_argument(
        "--tls-name",
        metavar="NAME",
        help="what the servers' certificates name, if not their addresses; implies --tls",
    )
    parser.add_argument("--plain", action="store_true", help="read plain lines, without prompt_toolkit")
    options = parser.parse_args(arguments)
    if not options.server and not options.discovery:
        parser.error("give --server HOST:PORT, or --discovery HOST:PORT with --group-tag")
    return options


def _client(options: argparse.Namespace) -> AsyncClient:
    password = os.environ.get("OVID_CHAT_PASSWORD")
    if password is None:
        if not sys.stdin.isatty():
            raise ValueError("set OVID_CHAT_PASSWORD, since there is no terminal to ask for the password")
        password = getpass.getpass(f"{options.user}'s password: ")
    return AsyncClient(
        options.user,
        password,
        options.server,
        options.discovery,
        group_tag=options.group_tag,
        secret=os.environ.get("OVID_CHAT_SECRET", ""),
        tls=options.ca or options.tls or options.tls_name is not None,
        tls_name=options.tls_name,
        echo=True,
    )


async def _until_ctrl_c(run: Coroutine[None, None, int]) -> int:
    """Lets Ctrl-C cancel the task that runs this, and it alone. Before Python 3.11 it would break into whatever task
    goes on at that moment."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None, "a task runs this"
    # Not by the loop, from which prompt_toolkit takes the handler away.
    before = signal.signal(signal.SIGINT, lambda *_: loop.call_soon_threadsafe(task.cancel))
    try:
        return await run
    finally:
        signal.signal(signal.SIGINT, before)


async def _run(client: AsyncClient, read: Callable[[Talk], Awaitable[None]], register: bool) -> int:
    talk = Talk(client, lambda line: print(line, flush=True))
    async with client:
        slow = asyncio.get_running_loop().call_later(SLOW_AFTER_S, _tell_slow)
        try:
            if register:
                await client.register(exist_ok=True)
            else:
                await client.log_in()
            slow.cancel()
            print(f"* {client.user} on the server {client.server}; /help tells the commands", flush=True)
            await talk.begin()
        except WrongPassword:
            hint = "" if register else "; --register makes a new user"
            print(f"ovid-chat: the name or the password is wrong{hint}", file=sys.stderr)
            return 1
        except ChatError as error:
            print(f"ovid-chat: {error}", file=sys.stderr)
            return 1
        finally:
            slow.cancel()
        await read(talk)
        await talk.end()
    return 0


def _tell_slow() -> None:
    print("* no server has let you in yet; it is tried on (Ctrl-C ends)", file=sys.stderr, flush=True)


async def _plain(talk: Talk) -> None:
    """Reads lines as they come."""
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str] = asyncio.Queue()

    def read() -> None:
        try:
            for line in sys.stdin:
                loop.call_soon_threadsafe(lines.put_nowait, line)
            loop.call_soon_threadsafe(lines.put_nowait, "/quit")
        except RuntimeError:
            # The loop has ended before.
            return

    # A thread that may be left waiting for a line.
    threading.Thread(target=read, daemon=True).start()
    try:
        while True:
            await talk.line(await lines.get())
    except Quit:
        return


def _nicely() -> Callable[[Talk], Awaitable[None]] | None:
    """What reads lines by prompt_toolkit, if that is there."""
    try:
        from ovid_chat.nice import read_lines
    except ImportError:
        return None
    return read_lines


if __name__ == "__main__":
    sys.exit(main())
