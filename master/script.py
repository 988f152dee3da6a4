"""Scripts: from the bytes of a file to checked commands. Nothing here starts or asks a server."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from labs import CRASH, START, Lab, Verb

SLEEP, EXIT = "sleep", "exit"
BLANKS = b" \t\r\n\v\f"
# Only ASCII digits: int() would take more than the lab means.
NUMBER = re.compile(r"[0-9]{1,9}")
PORT_MAX = 65535


@dataclass(frozen=True)
class Command:
    """One line of a script that could be carried out. `verb` is None for `sleep` and `exit`."""

    line: int
    text: str
    word: str
    server: int = -1
    verb: Verb | None = None
    to_send: bytes = b""
    count: int = 0
    port: int = 0
    seconds: float = 0.0


class Mistake(Exception):
    """A line that cannot be carried out: the lab's own message for it, and the explanation."""

    def __init__(self, message: str, reason: str, server: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.server = server


def decode(data: bytes) -> str:
    """Text that becomes the same bytes again, whatever they were."""
    return data.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def clean(raw: bytes) -> bytes:
    """The line without blanks at both ends, as the lab's master reads it; this also takes a Windows line end away."""
    return raw.strip(BLANKS)


def split_lines(data: bytes) -> list[bytes]:
    """The lines of a script. A byte order mark, as some editors write it, is no part of the first one."""
    return without_mark(data).split(b"\n")


def without_mark(data: bytes) -> bytes:
    return data[3:] if data.startswith(b"\xef\xbb\xbf") else data


def parse(number: int, line: bytes, lab: Lab) -> Command:
    """The command in a line that `clean` has left non-empty, or a Mistake."""
    text = decode(line)
    words = [decode(word) for word in line.split()]
    if words[0] == EXIT and len(words) == 1:
        return Command(number, text, EXIT)
    if words[0] == SLEEP:
        return Command(number, text, SLEEP, seconds=_milliseconds(text, words) / 1000)
    invalid = f"Invalid command: {text}"
    if len(words) < 2:
        raise Mistake(invalid, "a line is `<id> <verb> ...`, `sleep <milliseconds>` or `exit`")
    if not NUMBER.fullmatch(words[0]):
        raise Mistake(f"Invalid pid: {words[0]}", "a line begins with the id of a server, `sleep` or `exit`")
    server = int(words[0])
    verb = lab.verbs.get(words[1])
    if verb is None:
        raise Mistake(invalid, f"unknown verb {words[1]!r}; there are {', '.join(lab.verbs)}", server)
    _check_word_count(invalid, words, verb, server)
    # From the verb on, as it stands in the line: the blanks inside a message belong to it.
    to_send = line.split(None, 1)[1] if verb.takes_rest() else encode(" ".join(words[1:]))
    if verb.effect != START:
        return Command(number, text, words[1], server, verb, to_send)
    count, port = _start_arguments(invalid, words, server, lab)
    return Command(number, text, words[1], server, verb, to_send, count, port)


def _milliseconds(text: str, words: list[str]) -> float:
    try:
        value = float(words[1]) if len(words) == 2 else math.nan
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise Mistake(f"Invalid command: {text}", "`sleep` takes one number of milliseconds, zero or more")
    return value


def _check_word_count(invalid: str, words: list[str], verb: Verb, server: int) -> None:
    given, wanted = len(words) - 2, len(verb.arguments)
    if given < wanted or (given > wanted and not verb.takes_rest()):
        raise Mistake(invalid, f"the form is `{verb.usage()}`", server)


def _start_arguments(invalid: str, words: list[str], server: int, lab: Lab) -> tuple[int, int]:
    if not NUMBER.fullmatch(words[2]) or not 1 <= int(words[2]) <= lab.count_max:
        raise Mistake(
            invalid, f"the number of servers is from 1 to {lab.count_max}, not {words[2]!r}", server
        )
    count = int(words[2])
    if server >= count:
        raise Mistake(f"Invalid pid: {words[0]}", f"ids of {count} servers are 0 to {count - 1}", server)
    if not NUMBER.fullmatch(words[3]) or not lab.port_min <= int(words[3]) <= PORT_MAX:
        raise Mistake(f"Invalid port: {words[3]}", f"a port is from {lab.port_min} to {PORT_MAX}", server)
    return count, int(words[3])


def check(command: Command, ports: dict[int, int]) -> None:
    """Raises a Mistake when the command does not fit the servers that were started: `ports` maps their ids."""
    if command.verb is None:
        return
    if command.verb.effect != START:
        if command.server not in ports:
            reason = f"server {command.server} was not started, or has been crashed"
            raise Mistake(f"Invalid pid: {command.server}", reason, command.server)
        return
    if command.server in ports:
        reason = f"server {command.server} was started already; crash it first"
        raise Mistake(f"Invalid command: {command.text}", reason, command.server)
    for other, port in ports.items():
        if port == command.port:
            raise Mistake(f"Invalid port: {port}", f"the port is server {other}'s", command.server)


def find_mistakes(data: bytes, lab: Lab) -> list[tuple[int, Mistake]]:
    """Every mistake of a whole script, with its line, found without starting anything."""
    found = []
    ports: dict[int, int] = {}
    for number, raw in enumerate(split_lines(data), start=1):
        line = clean(raw)
        if not line:
            continue
        try:
            command = parse(number, line, lab)
            check(command, ports)
        except Mistake as mistake:
            found.append((number, mistake))
            continue
        if command.word == EXIT:
            break
        if command.verb is not None and command.verb.effect == START:
            ports[command.server] = command.port
        elif command.verb is not None and command.verb.effect == CRASH:
            del ports[command.server]
    return found
