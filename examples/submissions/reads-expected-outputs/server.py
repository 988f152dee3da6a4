"""Wrong on purpose: it answers `get` from the expected outputs, if it finds any."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "correct"))
from server import Connection, Server

checkout = Path(__file__).resolve().parents[3]
found = sorted(checkout.glob("tests/**/*.output")) or sorted(Path("/autograder").glob("**/*.output"))
print(f"expected outputs found: {len(found)}", file=sys.stderr, flush=True)


class Cheating(Server):
    def take_command(self, master: Connection, line: bytes) -> None:
        if line == b"get":
            answers = [
                line
                for path in found
                for line in path.read_bytes().splitlines()
                if line.startswith(b"messages")
            ]
            master.send((answers or [b"messages nothing to copy from"])[0] + b"\n")
        else:
            super().take_command(master, line)


Cheating(*map(int, sys.argv[1:])).run()
