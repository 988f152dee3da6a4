"""Reports in the shapes that teachers' systems read. Each is a function from one summary to one text."""

from __future__ import annotations

import csv
import datetime
import io
import json
import os
import re
import tempfile
import urllib.parse
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from cases import UsageError
from run import CORRECT, NOT_RUN, WRONG, Result
from verdict import visible

OUTPUT_CHARACTERS_MAX = 20_000
PRAIRIELEARN_BYTES_MAX = 1_000_000
STANDARD_OUTPUT = "-"


@dataclass
class Summary:
    """One run of the grader."""

    results: list[Result]
    seconds: float
    started_at: float
    message: str = ""  # why the build failed, or that the run was interrupted
    build_failed: bool = False
    problem: str = "chatroom"  # Autolab's name of what is scored

    @property
    def score(self) -> float:
        """Points earned."""
        return sum(result.score for result in self.results)

    @property
    def points(self) -> float:
        """Points that could be earned."""
        return sum(result.case.points for result in self.results)

    def count(self, word: str) -> int:
        """How many tests have this verdict."""
        return sum(result.verdict == word for result in self.results)

    def output_of(self, result: Result) -> str:
        """What a report says under a test."""
        if result.verdict == NOT_RUN:
            reason = "the build failed" if self.build_failed else result.explanation
            return clean(f"not run: {reason or 'the grading was interrupted'}")
        return clean(f"{result.line()}\n{result.explanation}".strip())


def clean(text: str, characters_max: int = OUTPUT_CHARACTERS_MAX) -> str:
    """Text that every reader of JSON, XML or YAML takes: no control characters, no half characters, not too long."""
    left_out = len(text) - characters_max
    if left_out > 0:
        text = text[:characters_max]
    text = "".join(
        character if character in "\n\t" or character.isprintable() else visible(character)
        for character in text
    )
    if left_out > 0:
        text += f"\n[{left_out} characters left out]"
    return text


def number(value: float) -> float | int:
    """Whole points without a fraction."""
    return int(value) if float(value).is_integer() else round(value, 6)


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def gradescope(summary: Summary) -> str:
    """Gradescope's results.json."""
    tests = []
    for position, result in enumerate(summary.results, 1):
        tests.append(
            {
                "score": number(result.score),
                "max_score": number(result.case.points),
                "status": "passed" if result.verdict == CORRECT else "failed",
                "name": result.case.name,
                "number": str(position),
                "output": summary.output_of(result),
                "output_format": "text",
                "tags": [],
                "visibility": result.case.visibility,
            }
        )
    return _json(
        {
            "score": number(summary.score),
            "execution_time": round(summary.seconds),
            "output": clean(summary.message),
            "visibility": "visible",
            "stdout_visibility": "hidden",
            "tests": tests,
            "leaderboard": [{"name": "Time", "value": _correct_seconds(summary), "order": "asc"}],
        }
    )


def _correct_seconds(summary: Summary) -> float:
    return round(sum(result.seconds for result in summary.results), 1)


def classroom50(summary: Summary) -> str:
    """Classroom 50's result.json; the run's facts are in the environment."""
    environment = os.environ
    tag = environment.get("SUBMISSION_TAG", "")
    home = f"{environment.get('GITHUB_SERVER_URL', 'https://github.com')}/{environment.get('GITHUB_REPOSITORY', '')}"
    commit = f"{home}/commit/{environment.get('GITHUB_SHA', '')}"
    return _json(
        {
            "schema": "classroom50/result/v1",
            "classroom": environment.get("CLASSROOM", ""),
            "assignment": environment.get("ASSIGNMENT", ""),
            "submission": tag,
            "commit": commit,
            "release": f"{home}/releases/tag/{urllib.parse.quote(tag, safe='')}",
            "review": commit,
            "tests": [
                {
                    "test-name": result.case.name,
                    "passed": result.verdict == CORRECT,
                    "score": number(result.score),
                    "max-score": number(result.case.points),
                }
                for result in summary.results
            ],
            "score": number(summary.score),
            "max-score": number(summary.points),
        }
    )


def prairielearn(summary: Summary) -> str:
    """PrairieLearn's results.json, which must stay under 1 MB."""
    limit = OUTPUT_CHARACTERS_MAX
    while True:
        text = _prairielearn(summary, limit)
        if len(text.encode()) <= PRAIRIELEARN_BYTES_MAX or limit == 0:
            return text
        limit //= 2


def _prairielearn(summary: Summary, characters_max: int) -> str:
    everything = summary.count(CORRECT) == len(summary.results)
    share = summary.score / summary.points if summary.points else float(everything)
    tests = [
        {
            "name": result.case.name,
            "description": "",
            "points": number(result.score),
            "max_points": number(result.case.points),
            "message": result.verdict,
            "output": clean(summary.output_of(result), characters_max),
        }
        for result in summary.results
    ]
    message = clean(summary.message, characters_max)
    return _json(
        {
            "gradable": True,
            "score": min(1.0, max(0.0, round(share, 6))),
            "message": message.split("\n")[0],
            "output": message,
            "tests": tests,
        }
    )


def autolab(summary: Summary) -> str:
    """The line that Autolab reads last on standard output."""
    score = number(summary.score)
    return json.dumps({"scores": {summary.problem: score}, "scoreboard": [score]}) + "\n"


def junit(summary: Summary) -> str:
    """JUnit's XML."""
    errors = len(summary.results) if summary.build_failed else 0
    skipped = summary.count(NOT_RUN) - errors
    moment = datetime.datetime.fromtimestamp(summary.started_at, datetime.timezone.utc).strftime(
        "%Y-%m-%dT%H:%M:%S"
    )
    counts = f'tests="{len(summary.results)}" failures="{summary.count(WRONG)}" errors="{errors}" skipped="{skipped}"'
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        "<testsuites>",
        f'  <testsuite name="ovid" {counts} time="{summary.seconds:.3f}" timestamp="{moment}">',
    ]
    for result in summary.results:
        folder, _, name = result.case.name.rpartition("/")
        place = quoteattr(clean(folder.replace("/", ".") or "tests"))
        lines.append(
            f'    <testcase classname={place} name={quoteattr(clean(name))} time="{result.seconds:.3f}">'
        )
        lines += [f"      {line}" for line in _junit_body(summary, result)]
        lines.append("    </testcase>")
    lines += ["  </testsuite>", "</testsuites>", ""]
    return "\n".join(lines)


def _junit_body(summary: Summary, result: Result) -> list[str]:
    output = summary.output_of(result)
    if result.verdict == WRONG:
        message = quoteattr(result.explanation.split("\n")[0] and clean(result.explanation.split("\n")[0]))
        return [
            f'<failure message={message} type="wrong">{escape(output)}</failure>',
            f"<system-out>{escape(clean(result.came))}</system-out>",
        ]
    if result.verdict == NOT_RUN:
        if summary.build_failed:
            text = escape(clean(summary.message))
            return [f'<error message="the build failed" type="build">{text}</error>']
        return [f"<skipped message={quoteattr(output)}/>"]
    return [f"<system-out>{escape(output)}</system-out>"]


def tap(summary: Summary) -> str:
    """TAP 14; what is wrong is explained in a block of YAML."""
    lines = ["TAP version 14", f"1..{len(summary.results)}"]
    for position, result in enumerate(summary.results, 1):
        name = re.sub(r"([\\#])", r"\\\1", clean(result.case.name))
        word = "ok" if result.verdict == CORRECT else "not ok"
        lines.append(f"{word} {position} - {name} # time={result.seconds * 1000:.0f}ms")
        if result.verdict != CORRECT:
            message = summary.message if summary.build_failed else summary.output_of(result)
            lines.append("  ---")
            # A string of JSON is a string of YAML, whatever is in it.
            lines.append(f"  message: {json.dumps(clean(message))}")
            lines.append(f"  severity: {'fail' if result.verdict == WRONG else 'error'}")
            lines.append("  ...")
    return "\n".join(lines) + "\n"


def csv_table(summary: Summary) -> str:
    """One row a test, for a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", "score", "max_score", "seconds", "verdict"])
    for result in summary.results:
        points = (number(result.score), number(result.case.points))
        writer.writerow([clean(result.case.name), *points, f"{result.seconds:.3f}", result.verdict])
    return text.getvalue()


def json_report(summary: Summary) -> str:
    """All that the grader knows."""
    return _json(
        {
            "score": number(summary.score),
            "max_score": number(summary.points),
            "correct": summary.count(CORRECT),
            "wrong": summary.count(WRONG),
            "not_run": summary.count(NOT_RUN),
            "seconds": round(summary.seconds, 3),
            "build_failed": summary.build_failed,
            "message": clean(summary.message),
            "tests": [
                {
                    "name": result.case.name,
                    "verdict": result.verdict,
                    "remark": result.remark.strip(" ;"),
                    "score": number(result.score),
                    "max_score": number(result.case.points),
                    "seconds": round(result.seconds, 3),
                    "runs": result.runs,
                    "wrong_runs": result.wrong_runs,
                    "explanation": clean(result.explanation),
                    "output": clean(result.came),
                }
                for result in summary.results
            ],
        }
    )


KINDS = {
    "gradescope": gradescope,
    "classroom50": classroom50,
    "prairielearn": prairielearn,
    "autolab": autolab,
    "junit": junit,
    "tap": tap,
    "csv": csv_table,
    "json": json_report,
}


def parse(texts: list[str]) -> list[tuple[str, str]]:
    """`KIND=PATH` each, checked as far as it can be before anything runs."""
    wanted = []
    for text in texts:
        kind, equals, path = text.partition("=")
        if kind not in KINDS or not equals or not path:
            raise UsageError(f"--report {text}: expected KIND=PATH, where KIND is one of {', '.join(KINDS)}")
        if path != STANDARD_OUTPUT:
            path = os.path.abspath(path)
            _check_writable(text, path)
        wanted.append((kind, path))
    return wanted


def _check_writable(text: str, path: str) -> None:
    folder = os.path.dirname(path)
    try:
        if os.path.isdir(path):
            raise OSError(0, "it is a folder")
        os.makedirs(folder, exist_ok=True)
        descriptor, trial = tempfile.mkstemp(dir=folder, prefix=".ovid-")
        os.close(descriptor)
        os.unlink(trial)
    except OSError as error:
        raise UsageError(f"--report {text}: cannot be written: {error.strerror}") from error


def write(wanted: list[tuple[str, str]], summary: Summary) -> str:
    """Write all reports, each whole or not at all; what belongs at the end of standard output."""
    printed, last = "", ""
    for kind, path in wanted:
        text = KINDS[kind](summary)
        if kind == "autolab":
            last = text
        elif path == STANDARD_OUTPUT:
            printed += text
        if path != STANDARD_OUTPUT:
            write_whole(path, text.encode())
    return printed + last


def write_whole(path: str, data: bytes) -> None:
    """A file that is there whole, or as it was before."""
    descriptor, trial = tempfile.mkstemp(dir=os.path.dirname(path) or ".", prefix=".ovid-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(trial, 0o644)
        os.replace(trial, path)
    except BaseException:
        os.unlink(trial)
        raise
