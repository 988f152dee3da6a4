"""Wrong on purpose: a message that comes from another server is logged before the last one."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "correct"))
from server import Connection, Server


class Swapping(Server):
    def take_peer_line(self, link: Connection, line: bytes) -> None:
        known = len(self.log)
        super().take_peer_line(link, line)
        if len(self.log) > known:
            self.log.insert(-1, self.log.pop())


Swapping(*map(int, sys.argv[1:])).run()
