"""Compares what came with what was expected, and explains a difference so that a student can act on it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from order import MIB, Limits, Outcome

CUT_BEFORE = 30
CUT_AFTER = 50
LOG_LINES = 8
EXTRA_LINES = 3
VISIBLE = {" ": "·", "\t": "→", "\r": "␍", "\n": "␤", "\u00a0": "⍽", "\u200b": "⍽", "\ufeff": "⍽"}


@dataclass
class Record:
    """What master.py wrote down about one run."""

    commands: list[dict] = field(default_factory=list)
    lines: list[dict] = field(default_factory=list)  # one for each line of the standard output
    problems: list[dict] = field(default_factory=list)
    ended: bool = False

    @staticmethod
    def read(data: bytes) -> Record:
        """As much as there is: the last line may be cut off."""
        record = Record()
        for line in data.splitlines():
            try:
                event = json.loads(line)
                kind = event["event"]
            except (ValueError, KeyError, TypeError):
                continue
            if kind == "command":
                record.commands.append(event)
            elif kind in ("answer", "message"):
                record.lines.append(event)
            elif kind == "problem":
                record.problems.append(event)
            elif kind == "end":
                record.ended = True
        return record

    def reached_limit(self) -> bool:
        """Whether the master itself ended the run because its time was over."""
        return any(problem.get("kind") == "limit" for problem in self.problems)

    def text_of(self, line: int | None) -> str:
        """The script's line of this number."""
        for command in self.commands:
            if command.get("line") == line:
                return str(command.get("text", ""))
        return ""


def same(expected: str, came: str) -> bool:
    """The lab's comparison: equal after stripping white space at both ends."""
    return expected.strip() == came.strip()


def visible(text: str) -> str:
    """`text` with its white space and control characters made visible."""
    shown = []
    for character in text:
        if character in VISIBLE:
            shown.append(VISIBLE[character])
        elif character.isprintable():
            shown.append(character)
        elif 0xDC80 <= ord(character) <= 0xDCFF:
            shown.append(f"\\x{ord(character) - 0xDC00:02x}")  # a byte that is no UTF-8
        else:
            shown.append(f"\\u{{{ord(character):x}}}")
    return "".join(shown)


def cut(text: str, position: int) -> str:
    """`text`, visible, and when it is long only what stands around `position`."""
    start, end = max(0, position - CUT_BEFORE), position + CUT_AFTER
    if end >= len(text) - 5:
        end = len(text)
    if start <= 5:
        start = 0
    left = f"[{start} characters] " if start else ""
    right = f" [{len(text) - end} more]" if end < len(text) else ""
    return left + visible(text[start:end]) + right


def first_difference(one: str, other: str) -> int:
    """The position at which two texts begin to differ."""
    for position, (left, right) in enumerate(zip(one, other)):
        if left != right:
            return position
    return min(len(one), len(other))


def limit_text(limit: str, limits: Limits) -> str:
    """The sentence about a limit that ended a test."""
    return {
        "time": f"it ran longer than its limit of {limits.seconds:g} s (--limit) and was ended",
        "memory": f"it reached its limit of memory, {limits.memory_bytes // MIB} MiB for all its processes and files "
        "(--memory-limit-mib)",
        "processes": f"it reached its limit of {limits.processes} processes and threads (--process-limit)",
        "disk": f"it filled its disk of {limits.disk_bytes // MIB} MiB (--disk-limit-mib)",
        "output": f"it printed more than its limit of {limits.output_bytes // MIB} MiB (--output-limit-mib)",
    }[limit]


def cause(outcome: Outcome, record: Record, limits: Limits) -> str | None:
    """Why a test ended other than by the end of its script, in one sentence; None when it did end so."""
    if outcome.error is not None:
        return f"the sandbox failed: {outcome.error}"
    if outcome.limit is not None:
        return limit_text(outcome.limit, limits)
    if outcome.interrupted:
        return "the run was interrupted"
    if outcome.status is not None and outcome.status < 0:
        return (
            f"master.py was killed by signal {-outcome.status} in the middle of the test: something that the "
            "submission started kills processes that it did not start itself"
        )
    if outcome.status is None:
        return "master.py vanished in the middle of the test"
    if outcome.status not in (0, 1) or not record.ended:
        return f"master.py ended with status {outcome.status} before the end of the script"
    return None


def explain(expected: str, came: str, record: Record, hide_expected: bool) -> list[str]:
    """The first difference of two outputs, in lines of text."""
    if same(expected, came):
        return []
    wanted, found = expected.strip(), came.strip()
    wanted_lines, found_lines = wanted.split("\n"), found.split("\n")
    if not wanted:
        wanted_lines = []
    if not found:
        found_lines = []
    index = 0
    while index < min(len(wanted_lines), len(found_lines)) and wanted_lines[index] == found_lines[index]:
        index += 1
    text = [_place(came, index, record)]
    want = wanted_lines[index] if index < len(wanted_lines) else None
    got = found_lines[index] if index < len(found_lines) else None
    position = first_difference(want or "", got or "")
    if not hide_expected:
        text.append(f"  expected: {'(no further line)' if want is None else cut(want, position)}")
    text.append(f"  came:     {'(nothing: the output ends here)' if got is None else cut(got, position)}")
    if want is not None and got is not None:
        if not hide_expected:
            text.append(f"  the first difference is at character {position + 1}")
        text += _space_only(wanted, found)
    elif got is not None and len(found_lines) - len(wanted_lines) > 1:
        text.append(f"  and {len(found_lines) - len(wanted_lines) - 1} more lines that were not expected")
    elif want is not None and not hide_expected:
        for missing in wanted_lines[index + 1 : index + 1 + EXTRA_LINES]:
            text.append(f"            {cut(missing, 0)}")
        more = len(wanted_lines) - index - 1 - EXTRA_LINES
        if more > 0:
            text.append(f"            and {more} more lines")
    return text


def _place(came: str, index: int, record: Record) -> str:
    """Which line of the output, and which line of the script it answers."""
    # The comparison strips blank lines at the beginning; the record counts them.
    stripped = came[: len(came) - len(came.lstrip())].count("\n")
    at = index + stripped
    place = f"line {index + 1} of the output"
    if at < len(record.lines):
        number = record.lines[at].get("line")
        return f"{place}, from script line {number}: {visible(record.text_of(number)) or '(unknown)'}"
    if record.commands:
        last = record.commands[-1]
        where = "after" if record.ended else "during"
        return f"{place}, {where} script line {last.get('line')}: {visible(str(last.get('text', '')))}"
    return place


def _space_only(wanted: str, found: str) -> list[str]:
    if wanted.replace("\r\n", "\n") == found.replace("\r\n", "\n"):
        return [
            "  the line ends are the only difference (carriage return and line feed, against line feed alone)"
        ]
    if "".join(wanted.split()) == "".join(found.split()):
        return ["  white space is the only difference"]
    return []


def problems(record: Record) -> list[str]:
    """What the master had to say, each with its place in the script."""
    text = []
    for problem in record.problems[:5]:
        place = f"script line {problem.get('line')}: " if problem.get("line") is not None else ""
        # What follows the first line is the end of the server's standard error, which is shown below.
        said = str(problem.get("text", "")).split("\n")[0]
        server = f"server {problem['server']}: " if problem.get("server") is not None else ""
        text.append(f"master: {place}{server}{visible_but_blanks(said)}")
    if len(record.problems) > 5:
        text.append(f"master: and {len(record.problems) - 5} more problems")
    return text


def visible_but_blanks(text: str) -> str:
    """Control characters made visible, blanks left alone: for sentences and for logs."""
    return visible(text).replace("·", " ")


def logs(outcome: Outcome) -> list[str]:
    """The ends of the servers' standard errors."""
    text = []
    for name, tail in outcome.logs.items():
        if name.endswith(".err"):
            lines = tail.rstrip().splitlines()[-LOG_LINES:]
            text.append(f"standard error of {name[: -len('.err')]}, its end:")
            text += [f"  | {visible_but_blanks(line)[:300]}" for line in lines]
        if len(text) > 60:
            text.append("  (and more servers)")
            break
    return text
