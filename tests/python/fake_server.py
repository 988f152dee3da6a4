"""A server that misbehaves on purpose, for the master's tests: `fake_server.py <id> <n> <port>`.

It listens for the master only. There are no links: which fakes live is read from locks in their common
directory, so the tests need no port but free ones. What it does wrong stands in `<directory>/mode-<id>`.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
import time
from pathlib import Path

BIG_ANSWER_BYTES = 30_000_000


class Fake:
    def __init__(self, directory: Path, own_id: int) -> None:
        self.directory, self.own_id = directory, own_id
        try:
            self.mode = (directory / f"mode-{own_id}").read_text().strip()
        except OSError:
            self.mode = "good"
        self.log: list[bytes] = []
        self.gets = self.alives = 0
        self.owed = b""
        # Held until this process ends, however it ends.
        self.lock = (directory / f"live-{own_id}").open("w")

    def main(self, port: int) -> None:
        if self.mode == "exits":
            sys.exit("first line\nno luck today")
        if self.mode == "floods":
            sys.stderr.write(("x" * 70 + "\n") * 100_000)
            sys.stderr.flush()
        if self.mode == "never-listens":
            time.sleep(600)
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        listener = socket.create_server(("127.0.0.1", port))
        while True:
            self.serve(listener.accept()[0])

    def serve(self, sock: socket.socket) -> None:
        if self.mode == "never-reads":
            time.sleep(600)
        with sock, sock.makefile("rwb") as stream:
            for line in stream:
                answer = self.answer(line.rstrip(b"\n"))
                if answer is not None:
                    stream.write(answer if self.mode == "framed" else answer + b"\n")
                    stream.flush()
                elif self.mode == "closes" and self.gets:
                    return

    def answer(self, line: bytes) -> bytes | None:
        verb, _, text = line.partition(b" ")
        if verb == b"broadcast":
            self.log.append(text)
        elif verb == b"alive":
            return self.alive()
        elif verb == b"get":
            self.gets += 1
            return self.get()
        elif verb == b"crash":
            os._exit(0)
        return None

    def alive(self) -> bytes | None:
        self.alives += 1
        if self.mode == "no-alive" or (self.mode == "skips-alive" and self.alives == 1):
            return None
        if self.mode == "wrong-alive":
            return b"alive 0,1,2,3"
        if self.mode == "rubbish-alive":
            return b"everybody is fine"
        ids = [own for own in range(20) if own == self.own_id or self.is_live(own)]
        return self.framed(b"alive " + b",".join(b"%d" % own for own in ids))

    def get(self) -> bytes | None:
        messages = b"messages " + b",".join(self.log)
        if self.mode == "dies":
            sys.stderr.write("about to fall\n")
            sys.stderr.flush()
            os._exit(7)
        if self.mode == "falls":
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.mode in ("closes", "hangs") or (self.mode in ("hangs-once", "late-once") and self.gets == 1):
            self.owed = messages
            return None
        if self.mode == "late-once" and self.gets == 2:
            return self.owed + b"\n" + messages
        if self.mode == "rubbish":
            return b"what did you say?"
        if self.mode == "chatty":
            return b"debug: get called\n" + messages
        if self.mode == "huge":
            return b"messages " + b"y" * BIG_ANSWER_BYTES
        return self.framed(messages)

    def framed(self, answer: bytes) -> bytes:
        return b"%d-%s" % (len(answer), answer) if self.mode == "framed" else answer

    def is_live(self, other: int) -> bool:
        try:
            with (self.directory / f"live-{other}").open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            return True
        except OSError:
            return False


if __name__ == "__main__":
    Fake(Path(os.environ["FAKE_DIRECTORY"]), int(sys.argv[1])).main(int(sys.argv[3]))
