"""The terminal as a program, with plain lines."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable

ENVIRONMENT = {**os.environ, "OVID_CHAT_PASSWORD": "secret", "PYTHONIOENCODING": "utf-8"}


def command(user: str, servers: Iterable[str], *options: str) -> list[str]:
    """What starts a user's terminal; it takes its password from `ENVIRONMENT`."""
    given = [option for server in servers for option in ("--server", server)]
    return [sys.executable, "-u", "-m", "ovid_chat.terminal", "--user", user, *given, *options]


def run_program(
    user: str, servers: Iterable[str], *options: str, lines: str = ""
) -> subprocess.CompletedProcess[str]:
    """Runs a user's terminal until these lines have been carried out."""
    return subprocess.run(
        command(user, servers, *options),
        input=lines,
        env=ENVIRONMENT,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
