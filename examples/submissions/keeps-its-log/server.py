"""Wrong on purpose: its log survives a restart."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "correct"))
from server import Connection, Server


class Remembering(Server):
    def take_command(self, master: Connection, line: bytes) -> None:
        super().take_command(master, line)
        self.remember()

    def take_peer_line(self, link: Connection, line: bytes) -> None:
        super().take_peer_line(link, line)
        self.remember()

    def remember(self) -> None:
        if len(self.log) > self.remembered:
            with memory.open("ab") as file:
                file.writelines(message + b"\n" for message in self.log[self.remembered :])
            self.remembered = len(self.log)


memory = Path(__file__).with_name(f"log-{sys.argv[1]}")
server = Remembering(*map(int, sys.argv[1:]))
server.log = memory.read_bytes().splitlines() if memory.exists() else []
server.remembered = len(server.log)
server.run()
