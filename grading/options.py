"""The command line of the grader, and the command that repeats one test with the same options."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import sys

from cases import Case
from isolation import MODES
from order import MIB, Limits
from reports import KINDS
from run import LAB_PACE, READY_PACE
from submission import CHECKOUT

EPILOG = """exit status: 0 all correct, 1 some wrong, 2 usage, 3 the build failed, 128 + n ended by signal n.
With a report of kind classroom50 a failing grade ends with 0, as that system wants it.
"""
# What says how often, how fast or to whom, but not what a test does.
NOT_REPEATED = {"pattern", "repeat", "report", "jobs", "list", "autograder_zip", "autolab_problem"}


def positive(text: str) -> float:
    """A number of seconds or MiB."""
    value = float(text)
    if not math.isfinite(value) or value <= 0:
        raise argparse.ArgumentTypeError("must be more than 0")
    return value


def at_least_one(text: str) -> int:
    """A number of things."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def make_parser() -> argparse.ArgumentParser:
    """All options."""
    parser = argparse.ArgumentParser(
        prog="grading.py",
        description="Builds a submission, runs every test against it in a sandbox, and says what is wrong.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    what = parser.add_argument_group("what is graded")
    what.add_argument(
        "--submission", metavar="DIR", help="build, process and stopall are in it (default: master/)"
    )
    what.add_argument(
        "--tests", metavar="DIR", help="pairs name.input, name.output under it (default: tests/)"
    )
    what.add_argument(
        "-k",
        dest="pattern",
        action="append",
        default=[],
        metavar="PATTERN",
        help="a name, a part of names, or a glob",
    )
    what.add_argument("--list", action="store_true", help="only list the tests with their points")
    how = parser.add_argument_group("how")
    how.add_argument(
        "--jobs", type=at_least_one, default=1, metavar="N", help="tests side by side (default: 1)"
    )
    how.add_argument(
        "--repeat", type=at_least_one, default=1, metavar="N", help="each test N times, and a table"
    )
    how.add_argument("--pace", choices=(READY_PACE, LAB_PACE), default=READY_PACE, help="as of master.py")
    how.add_argument(
        "--reply-framing", choices=("newline", "length"), default="newline", help="as of master.py"
    )
    how.add_argument("--lab", default="chatroom", help="as of master.py")
    how.add_argument(
        "--one-pace", action="store_true", help="do not run a wrong test again at the lab's pace"
    )
    how.add_argument("--isolation", choices=MODES, help="default: the best that works here")
    how.add_argument("--hide-expected", action="store_true", help="say what came, but not what was expected")
    how.add_argument(
        "--hide", action="append", default=[], metavar="PATH", help="looks empty to the submission"
    )
    how.add_argument(
        "--env", action="append", default=[], metavar="NAME", help="a variable that the submission gets"
    )
    limits = parser.add_argument_group("limits of one test, and of the build")
    limits.add_argument("--limit", type=positive, default=120.0, metavar="SECONDS", help="default: 120")
    limits.add_argument("--build-limit", type=positive, default=600.0, metavar="SECONDS", help="default: 600")
    limits.add_argument(
        "--memory-limit-mib", type=positive, default=2048, metavar="MIB", help="default: 2048"
    )
    limits.add_argument("--process-limit", type=at_least_one, default=512, metavar="N", help="default: 512")
    limits.add_argument("--disk-limit-mib", type=positive, default=1024, metavar="MIB", help="default: 1024")
    limits.add_argument("--output-limit-mib", type=positive, default=16, metavar="MIB", help="default: 16")
    limits.add_argument("--build-network", action="store_true", help="the build may use the network")
    results = parser.add_argument_group("results")
    results.add_argument(
        "--report",
        action="append",
        default=[],
        metavar="KIND=PATH",
        help=f"{', '.join(KINDS)}; may be repeated",
    )
    results.add_argument(
        "--trace",
        metavar="DIR",
        help="a page for each wrong test that shows what the servers did, if they are ovid's",
    )
    results.add_argument("--autolab-problem", default="chatroom", metavar="NAME", help="default: chatroom")
    results.add_argument(
        "--autograder-zip", metavar="OUT.zip", help="write an autograder for Gradescope, and end"
    )
    return parser


def limits_of(options: argparse.Namespace) -> Limits:
    """The limits of one test."""
    return Limits(
        options.limit,
        int(options.memory_limit_mib * MIB),
        options.process_limit,
        int(options.disk_limit_mib * MIB),
        int(options.output_limit_mib * MIB),
    )


def same_options(
    parser: argparse.ArgumentParser, options: argparse.Namespace, left_out: set[str]
) -> list[str]:
    """The words that give these options again, without those left out."""
    words = []
    for action in parser._actions:
        if not action.option_strings or action.dest in left_out | {"help"}:
            continue
        value = getattr(options, action.dest)
        if value == action.default:
            continue
        values = value if isinstance(value, list) else [value]
        for each in values:
            words.append(action.option_strings[0])
            if each is not True:
                words.append(f"{each:g}" if isinstance(each, float) else str(each))
    return words


def repeat_command(parser: argparse.ArgumentParser, options: argparse.Namespace, case: Case) -> str:
    """The command that runs just this test."""
    program = os.path.relpath(os.path.join(CHECKOUT, "grading", "grading.py"))
    if program.startswith(".."):
        program = os.path.join(CHECKOUT, "grading", "grading.py")
    python = os.path.basename(sys.executable) or "python3"
    words = [python, program, *same_options(parser, options, NOT_REPEATED), "-k", case.name]
    return " ".join(shlex.quote(word) for word in words)
