"""Wrong on purpose: `get` waits for ever."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "correct"))
import threading

from server import Connection, Server


class Hanging(Server):
    def take_command(self, master: Connection, line: bytes) -> None:
        if line == b"get":
            threading.Event().wait()
        super().take_command(master, line)


Hanging(*map(int, sys.argv[1:])).run()
