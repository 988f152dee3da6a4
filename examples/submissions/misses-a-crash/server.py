"""Wrong on purpose: it never takes a peer out of its alive set."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "correct"))
from server import Connection, Server


class Frozen(Server):
    def take_peer_line(self, link: Connection, line: bytes) -> None:
        super().take_peer_line(link, line)
        self.seen |= {link.peer} - {-1}

    def take_command(self, master: Connection, line: bytes) -> None:
        if line == b"alive":
            master.send(b"alive " + b",".join(b"%d" % peer for peer in sorted(self.seen)) + b"\n")
        else:
            super().take_command(master, line)


server = Frozen(*map(int, sys.argv[1:]))
server.seen = {server.own_id}
server.run()
