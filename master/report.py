"""What the master says: answers on standard output, explanations on standard error, events for a grader in
a file.
"""

from __future__ import annotations

import json
import sys
import time
from typing import IO

from script import encode

# Kinds of problems. All but the last make the exit status 1.
NO_START, DIED, CLOSED, NO_ANSWER = "no_start", "died", "closed", "no_answer"
BAD_ANSWER, BAD_COMMAND, LIMIT, INTERNAL, NOT_READY = (
    "bad_answer",
    "bad_command",
    "limit",
    "internal",
    "not_ready",
)


class OutputLost(Exception):
    """Standard output takes nothing more. `reason` is empty when whoever read it has simply left."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Report:
    """Writes each thing at once, so that a run that is killed has lost nothing."""

    def __init__(self, record_path: str | None) -> None:
        self.began_at = time.monotonic()
        self.line = 0
        self.problem_count = 0
        self._record: IO[str] | None = None
        if record_path:
            self._record = open(record_path, "w", encoding="ascii", buffering=1)  # noqa: SIM115

    def command(self, line: int, text: str) -> None:
        self.line = line
        self._event("command", line=line, text=text)

    def answer(self, server: int, text: str, seconds: float) -> None:
        self._event("answer", line=self.line, server=server, text=text, seconds=round(seconds, 6))
        self._print(text)

    def message(self, text: str) -> None:
        """One of the lab's own messages."""
        self._event("message", line=self.line, text=text)
        self._print(text)

    def problem(self, kind: str, text: str, server: int | None = None) -> None:
        if kind != NOT_READY:
            self.problem_count += 1
        self._event("problem", line=self.line, server=server, kind=kind, text=text)
        self.note(text, server)

    def note(self, text: str, server: int | None = None) -> None:
        """An explanation; it changes nothing about the outcome."""
        where = f"line {self.line}: " if self.line else ""
        who = "" if server is None else f"server {server}: "
        try:
            sys.stderr.buffer.write(encode(f"master: {where}{who}{text}\n"))
            sys.stderr.flush()
        except (OSError, ValueError):
            pass  # Nobody listens any more; the outcome is still recorded.

    def end(self, status: int) -> None:
        self._event("end", status=status, seconds=round(time.monotonic() - self.began_at, 6))
        if self._record:
            self._record.close()
            self._record = None

    def _print(self, text: str) -> None:
        try:
            sys.stdout.buffer.write(encode(text) + b"\n")
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise OutputLost("") from None
        except OSError as error:
            raise OutputLost(error.strerror or str(error)) from None

    def _event(self, name: str, **fields: object) -> None:
        if self._record:
            # Bytes that are no UTF-8 stand as lone surrogates, which JSON can hold as escapes.
            self._record.write(json.dumps({"event": name, **fields}) + "\n")
