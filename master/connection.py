"""The connection to one server: lines out, answers in, and which question each answer belongs to.

A server answers in the order of its commands. So the questions that wait for an answer stand in a queue, and
the master's own questions behind the scenes can never be mistaken for the script's.
"""

from __future__ import annotations

import re
import socket
import time
from collections import deque
from dataclasses import dataclass, field

NEWLINE, LENGTH = "newline", "length"
READ_BYTES = 1 << 18
# How much one server may say before others are served again.
READS_PER_TURN = 16
LENGTH_DIGITS_MAX = 12


@dataclass(eq=False)
class Question:
    """Something that a server was asked."""

    pattern: re.Pattern[bytes]
    # Asked by the master itself, to learn whether the grid is ready; nobody is told what came.
    hidden: bool
    line: int
    asked_at: float = field(default_factory=time.monotonic)
    answered_at: float = 0.0
    answer: bytes | None = None
    # Nobody waits any more; a late answer is dropped.
    abandoned: bool = False
    # Something came in place of the answer.
    spoiled: bool = False


class Connection:
    """A socket that never blocks."""

    def __init__(self, sock: socket.socket, framing: str) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.closed = False
        # Lines that answer nothing, and answers that came too late, for the run to tell about.
        self.rubbish: list[bytes] = []
        self.late: list[Question] = []
        self._framing = framing
        self._unsent = bytearray()
        self._unread = bytearray()
        self._searched = 0
        self._questions: deque[Question] = deque()
        self._last_late: Question | None = None

    def send(self, line: bytes) -> None:
        self._unsent += line + b"\n"
        self.flush()

    def ask(self, line: bytes, question: Question) -> Question:
        self._questions.append(question)
        self.send(line)
        return question

    def settle(self, question: Question) -> bool:
        """Gives the question up; whether an answer that seemed too late for another one must have been its own.

        A server that skips one answer would otherwise seem to be late for ever.
        """
        late, self._last_late = self._last_late, None
        if late is None or late.answered_at < question.asked_at or question not in self._questions:
            question.abandoned = True
            return False
        self._questions.remove(question)
        question.answer, question.answered_at = late.answer, late.answered_at
        return True

    def has_unsent(self) -> bool:
        return bool(self._unsent)

    def flush(self) -> None:
        """Writes what the server's socket takes now."""
        try:
            while self._unsent and not self.closed:
                with memoryview(self._unsent) as view:
                    sent = self.sock.send(view[: 1 << 20])
                del self._unsent[:sent]
        except BlockingIOError:
            pass
        except OSError:
            # What it said before may still be there to be read, so the end is left for `receive` to find.
            self._unsent.clear()

    def receive(self) -> None:
        """Reads what is there and hands each complete answer to its question."""
        try:
            for _ in range(READS_PER_TURN):
                data = self.sock.recv(READ_BYTES)
                if not data:
                    self._end()
                    return
                self._unread += data
                self._take_all()
        except BlockingIOError:
            pass
        except OSError:
            self._end()

    def close(self) -> None:
        self.closed = True
        self.sock.close()

    def _end(self) -> None:
        self.closed = True
        if self._unread:
            self._take(bytes(self._unread))  # A last line without its end is shown, not lost.
            self._unread.clear()

    def _take_all(self) -> None:
        while True:
            line = self._cut_framed() if self._framing == LENGTH else self._cut_line()
            if line is None:
                return
            self._take(line)

    def _cut_line(self) -> bytes | None:
        end = self._unread.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._unread)  # An answer of many megabytes is searched once.
            return None
        line = bytes(memoryview(self._unread)[:end])
        del self._unread[: end + 1]
        self._searched = 0
        return line.rstrip(b"\r")

    def _cut_framed(self) -> bytes | None:
        """`<length>-<answer>`, with or without a line end after it; anything else is a line to complain about."""
        blank = len(self._unread) - len(self._unread.lstrip(b"\r\n"))
        if blank:
            del self._unread[:blank]
        head = bytes(self._unread[: LENGTH_DIGITS_MAX + 1])
        digits, dash, _ = head.partition(b"-")
        if not digits.isdigit():
            return self._cut_line() if head else None
        if not dash:
            return None if len(head) <= LENGTH_DIGITS_MAX else self._cut_line()
        begin = len(digits) + 1
        end = begin + int(digits)
        if len(self._unread) < end:
            return None
        line = bytes(memoryview(self._unread)[begin:end])
        del self._unread[:end]
        return line

    def _take(self, line: bytes) -> None:
        for place, question in enumerate(self._questions):
            if question.pattern.fullmatch(line):
                # A server that left out the answers before this one has skipped them for good.
                for _ in range(place + 1):
                    self._questions.popleft()
                question.answer, question.answered_at = line, time.monotonic()
                if question.abandoned:
                    self._last_late = question
                    if not question.hidden:
                        self.late.append(question)
                return
            if not question.hidden and not question.abandoned:
                break
        if self._questions and self._questions[0].hidden:
            # It stands where the answer to a hidden question belongs: the script's outputs must not show it.
            self._questions.popleft().spoiled = True
            return
        for question in self._questions:
            question.spoiled = True
        self.rubbish.append(line)
