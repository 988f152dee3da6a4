"""Wrong on purpose: a daemon of the old school, which its parent can no longer find."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "correct"))
import os

from server import Connection, Server


class Immortal(Server):
    def take_command(self, master: Connection, line: bytes) -> None:
        if line != b"crash":
            super().take_command(master, line)


if os.fork():
    sys.exit()
os.setsid()
if os.fork():
    sys.exit()
Immortal(*map(int, sys.argv[1:])).run()
