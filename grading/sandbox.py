"""The grader's side of one sandbox: starts its supervisor, reads what comes, and is always done in bounded time."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field

from order import Order, Outcome

JAIL = os.path.join(os.path.dirname(os.path.realpath(__file__)), "jail.py")
# How much longer than its limit a sandbox may take to be set up and to end before its supervisor is ended as well.
GRACE_SECONDS = 30.0
DRAIN_SECONDS = 1.0


@dataclass
class Finished:
    """All that came out of one sandbox."""

    outcome: Outcome
    stdout: bytes
    stderr: bytes
    record: bytes
    seconds: float


@dataclass
class _Stream:
    """One pipe from the sandbox: what is kept of it, and how much there was."""

    bytes_max: int
    data: bytearray = field(default_factory=bytearray)
    total: int = 0

    def take(self, data: bytes) -> None:
        self.total += len(data)
        self.data += data[: max(0, self.bytes_max - len(self.data))]


class Sandboxes:
    """Those that run now, so that an interruption can end them all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen] = set()
        self.stopping = threading.Event()

    def run(self, order: Order) -> Finished:
        """Carry out one order."""
        started_at = time.monotonic()
        record, record_writer = os.pipe()
        outcome, outcome_writer = os.pipe()
        order.record_descriptor = -1 if order.command else record_writer
        try:
            process = subprocess.Popen(
                [order.python, "-I", "-S", "-X", "utf8", JAIL, str(outcome_writer)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(record_writer, outcome_writer),
                start_new_session=True,
                cwd="/",
                env={"PATH": os.environ.get("PATH", os.defpath), "TMPDIR": order.private or "/tmp"},
                bufsize=0,
            )
        finally:
            os.close(record_writer)
            os.close(outcome_writer)
        with self._lock:
            self._running.add(process)
        try:
            if self.stopping.is_set():
                self._say(process, b"i")
            return self._attend(process, order, {"record": record, "outcome": outcome}, started_at)
        finally:
            with self._lock:
                self._running.discard(process)
            self._end(process)
            os.close(record)
            os.close(outcome)

    def stop(self) -> None:
        """End all that run; each still reports what it has."""
        self.stopping.set()
        with self._lock:
            for process in self._running:
                self._say(process, b"i")

    @staticmethod
    def _say(process: subprocess.Popen, word: bytes) -> None:
        with contextlib.suppress(OSError, ValueError):
            process.stdin.write(word)

    @staticmethod
    def _end(process: subprocess.Popen) -> None:
        """The supervisor and, through it, everything in its sandbox."""
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            with contextlib.suppress(OSError):
                pipe.close()

    def _attend(
        self, process: subprocess.Popen, order: Order, descriptors: dict[str, int], started_at: float
    ) -> Finished:
        output_max = order.limits.output_bytes
        streams = {
            "stdout": _Stream(output_max),
            "stderr": _Stream(min(output_max, 1 << 20)),
            "record": _Stream(4 * output_max),
            "outcome": _Stream(1 << 24),
        }
        descriptors = {**descriptors, "stdout": process.stdout.fileno(), "stderr": process.stderr.fileno()}
        selector = selectors.DefaultSelector()
        for name, descriptor in descriptors.items():
            selector.register(descriptor, selectors.EVENT_READ, name)
        with contextlib.suppress(OSError):
            process.stdin.write(order.to_line())
        ends_at = started_at + order.limits.seconds + GRACE_SECONDS
        told = False
        while selector.get_map():
            left = ends_at - time.monotonic()
            if left <= 0:
                break
            for key, _ in selector.select(left):
                data = os.read(key.fd, 1 << 16)
                if not data:
                    selector.unregister(key.fd)
                    if key.data == "outcome":
                        # Nothing can come any more but from somebody who got away with a pipe.
                        ends_at = min(ends_at, time.monotonic() + DRAIN_SECONDS)
                    continue
                stream = streams[key.data]
                stream.take(data)
                if stream.total > output_max and key.data in ("stdout", "stderr") and not told:
                    told = True
                    self._say(process, b"o")
        selector.close()
        return Finished(
            self._outcome(bytes(streams["outcome"].data)),
            bytes(streams["stdout"].data),
            bytes(streams["stderr"].data),
            bytes(streams["record"].data),
            time.monotonic() - started_at,
        )

    def _outcome(self, line: bytes) -> Outcome:
        if line.endswith(b"\n"):
            return Outcome.from_line(line)
        return Outcome(
            interrupted=self.stopping.is_set(), error="the sandbox's supervisor was killed from outside"
        )
