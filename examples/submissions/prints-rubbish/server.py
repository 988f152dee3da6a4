"""Wrong on purpose: it answers in its own words."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "correct"))
from server import Connection, Server


class Chatty(Server):
    def take_command(self, master: Connection, line: bytes) -> None:
        if line in (b"get", b"alive"):
            master.send(b"I have %d messages, thank you\n" % len(self.log))
        else:
            super().take_command(master, line)


Chatty(*map(int, sys.argv[1:])).run()
