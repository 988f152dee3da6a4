"""The verbs of a lab, in one table each: another lab is another table.

A verb's effect is what the master does: it starts a server, crashes it, or sends it the line. Everything else
(which words the verb takes, whether the server answers, what a right answer looks like, the help text) stands
in the table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

START, CRASH, SEND = "start", "crash", "send"


@dataclass(frozen=True)
class Verb:
    """One command of a script, given to one server: `<id> <name> <arguments>`."""

    name: str
    effect: str
    help: str
    # The names of the words after the verb. A last name that ends in "..." is the rest of the line, kept as it is.
    arguments: tuple[str, ...] = ()
    # What the server's answer looks like; None when the verb has no answer. Only lines that cannot be meant
    # as this answer fail to match: whether the contents are right is for the comparison of outputs to say.
    answer: re.Pattern[bytes] | None = None

    def takes_rest(self) -> bool:
        return bool(self.arguments) and self.arguments[-1].endswith("...")

    def usage(self) -> str:
        return " ".join(["<id>", self.name, *(f"<{name}>" for name in self.arguments)])


@dataclass(frozen=True)
class Lab:
    """A lab's verbs and what its contract promises about time."""

    name: str
    verbs: dict[str, Verb]
    # The verb that asks a server which servers it believes alive, used to wait for a condition instead of a time.
    alive_verb: str
    alive_word: bytes
    start_seconds: float
    crash_seconds: float
    count_max: int
    port_min: int
    crash_line: bytes

    def reported_alive(self, answer: bytes) -> frozenset[int] | None:
        """The ids in the answer to the alive verb; None when it is not made of ids."""
        word, _, ids = answer.partition(b" ")
        parts = ids.strip().split(b",")
        if word != self.alive_word or not all(part.isdigit() and len(part) < 10 for part in parts):
            return None
        return frozenset(int(part) for part in parts)


def _table(*verbs: Verb) -> dict[str, Verb]:
    return {verb.name: verb for verb in verbs}


CHATROOM = Lab(
    name="chatroom",
    verbs=_table(
        Verb("start", START, "start server <id> of <n>; it listens for the master on <port>", ("n", "port")),
        Verb("get", SEND, "print the messages that the server has", answer=re.compile(rb"messages(?: .*)?")),
        Verb(
            "alive",
            SEND,
            "print the ids that the server believes alive",
            answer=re.compile(rb"alive(?: .*)?"),
        ),
        Verb("broadcast", SEND, "have the server send a message to all", ("message...",)),
        Verb("crash", CRASH, "kill the server"),
    ),
    alive_verb="alive",
    alive_word=b"alive",
    start_seconds=3.0,
    crash_seconds=1.0,
    count_max=7000,
    port_min=10000,
    crash_line=b"crash",
)

LABS = {lab.name: lab for lab in (CHATROOM,)}
