#!/usr/bin/env python3
"""The master: drives a grid of servers with a script, or by hand, and prints what they answer.

The modules beside this file, in the order in which a line of a script passes them: `script` (from bytes to
checked commands, by the table in `labs`), `runner` (what each command does), `readiness` (waiting for the
grid), `grid` (the servers, and all waiting), `connection` and `process` (one server's socket and process
group), `report` (what is said).
"""

from __future__ import annotations

import argparse
import math
import os
import shlex
import signal
import stat
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import groups
import report
from connection import LENGTH, NEWLINE
from grid import Interrupted, LimitReached
from labs import LABS
from process import Launcher
from report import OutputLost, Report
from runner import LAB_PACE, READY_PACE, Run, Settings
from script import find_mistakes, split_lines, without_mark

STATUS_OK, STATUS_PROBLEM, STATUS_USAGE = 0, 1, 2
LIMIT_SECONDS = 120.0
READ_BYTES = 1 << 16
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(words: list[str]) -> int:
    options = parse_options(words)
    interactive = options.script in (None, "-") and sys.stdin.isatty()
    whole = None if interactive else read_whole(options.script)
    if options.dry_run:
        return dry_run(options, whole)
    out = open_report(options)
    run = Run(make_settings(options, interactive), out)
    for number in heeded_signals():
        signal.signal(number, lambda got, _frame: interrupt(run, got))
    recorded = groups.record("master", os.getpid(), " ".join(shlex.quote(word) for word in sys.argv))
    status = STATUS_PROBLEM
    try:
        status = guarded(
            run, lambda: by_hand(run) if interactive else by_script(run, script_lines(run, whole))
        )
        if interactive:
            status = STATUS_OK  # What went wrong was said; it is no outcome of the session.
    except Interrupted as interrupted:
        out.note(f"ended by {signal.Signals(interrupted.number).name}; the servers are ended too")
        status = 128 + interrupted.number
    except OutputLost as lost:
        if lost.reason:
            out.note(f"cannot write the answers: {lost.reason}")
        # Nothing more can be said there, not even by the interpreter at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        run.grid.finish()
        groups.forget(recorded)
        out.end(status)
    return status


def by_hand(run: Run) -> None:
    from interactive import Session  # Only here: it may load what a plain run does not need.

    Session(run).loop()


def by_script(run: Run, lines: Iterator[bytes]) -> None:
    for number, raw in enumerate(lines, start=1):
        if not run.execute(number, raw):
            break
    run.grid.turn(0)  # A server that has died at the very end is told too.


def guarded(run: Run, body: Callable[[], None]) -> int:
    """Carries out the script or the session; the exit status, whatever happens in it."""
    out = run.out
    try:
        body()
    except LimitReached:
        out.message("Timeout!")
        out.problem(
            report.LIMIT, "the limit of the whole run was reached; the rest of the script was not carried out"
        )
    except (Interrupted, OutputLost):
        raise
    except Exception as error:  # Whatever it is, the servers must be ended and the record closed.
        out.message("Master or testcase error!")
        out.problem(report.INTERNAL, f"{type(error).__name__}: {error}")
        traceback.print_exc()
    return STATUS_PROBLEM if out.problem_count else STATUS_OK


def heeded_signals() -> list[signal.Signals]:
    """Those that whoever started the master (nohup, a shell for its background) has not told it to ignore."""
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


def interrupt(run: Run, number: int) -> None:
    """Asks the run to end at its next wait: an exception thrown into a start could lose what was just started."""
    run.grid.interrupted_by = number
    run.grid.wake()


def read_whole(path: str | None) -> bytes | None:
    """The script; None when it is still being written, so that its lines must be taken as they come."""
    if path not in (None, "-"):
        try:
            return Path(path).read_bytes()
        except OSError as error:
            usage(f"cannot read the script {path}: {error.strerror}")
    mode = os.fstat(sys.stdin.fileno()).st_mode
    streams = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or sys.stdin.isatty()
    return None if streams else sys.stdin.buffer.read()


def script_lines(run: Run, whole: bytes | None) -> Iterator[bytes]:
    """The lines of the script; those of a stream are waited for while the servers are served."""
    if whole is not None:
        yield from split_lines(whole)
        return
    descriptor = sys.stdin.fileno()
    rest = b""
    first = True
    while True:
        run.grid.wait_readable(descriptor)
        data = os.read(descriptor, READ_BYTES)
        *lines, rest = (rest + data).split(b"\n")
        if not data:
            lines.append(rest)
        for line in lines:
            yield without_mark(line) if first else line
            first = False
        if not data:
            return


def dry_run(options: argparse.Namespace, whole: bytes | None) -> int:
    data = sys.stdin.buffer.read() if whole is None else whole
    name = options.script if options.script not in (None, "-") else "standard input"
    found = find_mistakes(data, LABS[options.lab])
    for line, mistake in found:
        sys.stderr.write(
            f"{name}:{line}: {mistake.message}: {mistake.reason}\n".encode("utf-8", "replace").decode()
        )
    return STATUS_PROBLEM if found else STATUS_OK


def parse_options(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="master.py",
        description="Drives a grid of servers with a script and prints what they answer.",
        epilog="Exit status: 0 no problem, 1 a problem (it is explained on standard error), 2 usage, "
        "128 and the signal's number when a signal ended the run.",
    )
    parser.add_argument(
        "script", nargs="?", metavar="SCRIPT", help="a file, or - for standard input (default)"
    )
    parser.add_argument(
        "--process", default="./process", metavar="CMD", help="starts a server: CMD <id> <n> <port>"
    )
    parser.add_argument("--stopall", default="./stopall", metavar="CMD", help="called at the end")
    parser.add_argument("--directory", metavar="DIR", help="where CMD is run and looked up")
    parser.add_argument("--lab", default="chatroom", choices=sorted(LABS), help="whose verbs to use")
    parser.add_argument(
        "--pace",
        default=READY_PACE,
        choices=(READY_PACE, LAB_PACE),
        help="after a start or crash wait until the grid is ready (default), or as long as the lab allows",
    )
    parser.add_argument(
        "--reply-framing", default=NEWLINE, choices=(NEWLINE, LENGTH), help="how answers are cut"
    )
    parser.add_argument(
        "--limit", type=positive, metavar="SECONDS", help="of the whole run (120; by hand none)"
    )
    parser.add_argument("--debug", action="store_true", help="show what servers and stopall print")
    parser.add_argument(
        "--server-output", metavar="DIR", help="keep what servers print: server-<id>-<start>.out, .err"
    )
    parser.add_argument(
        "--trace",
        metavar="DIR",
        help="have ovid's servers write there what happens; `ovid trace html DIR` draws it",
    )
    parser.add_argument("--record", metavar="FILE", help="write what happens as lines of JSON")
    parser.add_argument(
        "--dry-run", action="store_true", help="only check the script, and show every mistake"
    )
    return parser.parse_args(words)


def make_settings(options: argparse.Namespace, interactive: bool) -> Settings:
    here = Path(__file__).resolve().parent
    directory = Path(options.directory or (Path.cwd() if os.access("process", os.X_OK) else here)).absolute()
    if not directory.is_dir():
        usage(f"there is no directory {directory}")
    output = made_directory(options.server_output) if options.server_output else None
    if options.trace:
        traces = made_directory(options.trace)
        if any(traces.glob("*.jsonl")):
            usage(f"{traces} holds the traces of another run; name a new directory, or empty it")
        os.environ["OVID_TRACE_DIR"] = str(traces)
    launcher = Launcher(directory, options.process, options.stopall, output, options.debug)
    try:
        launcher.command(options.process)
        launcher.command(options.stopall)
    except ValueError as error:
        usage(f"--process or --stopall is no command: {error}")
    limit = options.limit or (None if interactive else LIMIT_SECONDS)
    return Settings(LABS[options.lab], launcher, options.pace, options.reply_framing, limit)


def made_directory(path: str) -> Path:
    directory = Path(path).absolute()
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        usage(f"cannot make the directory {directory}: {error.strerror}")
    return directory


def open_report(options: argparse.Namespace) -> Report:
    try:
        return Report(options.record)
    except OSError as error:
        usage(f"cannot write the record {options.record}: {error.strerror}")
        raise


def positive(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError("more than 0 is needed")
    return value


def usage(text: str) -> None:
    """Says what is wrong with the command line, and ends."""
    print(f"master.py: {text}", file=sys.stderr)
    sys.exit(STATUS_USAGE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
