#!/usr/bin/env python3
"""Grades a submission of a lab: builds it, runs every test in a sandbox, compares, explains, reports.

The modules beside this file: `options` the command line, `cases` tests and points, `submission` copying and building,
`isolation` and `cgroups` what this machine offers, `sandbox` one sandbox from outside, `jail`, `inside`, `view`,
`census` and `linux` the same from inside, `order` the wire between both, `run` tests and results, `ports` for machines
without network namespaces, `verdict` comparing and explaining, `reports` the teachers' systems, `autograder` a zip for
one of them, `traces` the pages of wrong tests, `progress` the terminal.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
import traceback

# Not abspath: Python itself names a script that is called from / with two slashes, and abspath keeps them.
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
# The master's modules come last: two of them have names that others could have as well.
sys.path.append(os.path.join(os.path.dirname(HERE), "master"))

import autograder
import groups
import isolation
import options as command_line
import reports
from cases import Case, UsageError, find_cases, select
from progress import Progress
from run import CORRECT, NOT_RUN, WRONG, Result, Runner, Settings
from sandbox import Sandboxes
from submission import CHECKOUT, BuildFailed, Submission, find_submission
from traces import Traces

ALL_CORRECT, SOME_WRONG, USAGE, BUILD_FAILED = 0, 1, 2, 3


class Interrupted(BaseException):
    """A signal asks the grader to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Grading:
    """One call of the grader."""

    def __init__(self, words: list[str]) -> None:
        self.parser = command_line.make_parser()
        self.options = self.parser.parse_args(words)
        self.progress = Progress()
        self.started_at = time.time()
        self.cases: list[Case] = []
        self.results: dict[str, Result] = {}
        self.printed = 0

    def main(self) -> int:
        """Everything that can be wrong with the call is found before anything runs."""
        options = self.options
        tests = os.path.abspath(options.tests or os.path.join(CHECKOUT, "tests"))
        every_case = find_cases(tests)
        self.cases = select(every_case, options.pattern)
        if not self.cases:
            raise UsageError(f"{tests}: no tests there (a test is a pair name.input, name.output)")
        if options.list:
            for case in self.cases:
                print(f"{case.name}  {reports.number(case.points)}")
            return ALL_CORRECT
        if options.autograder_zip:
            left_out = {
                "submission",
                "tests",
                "report",
                "autograder_zip",
                "isolation",
                "list",
                "repeat",
                "jobs",
                "trace",
            }
            words = command_line.same_options(self.parser, options, left_out)
            autograder.write(options.autograder_zip, tests, words)
            print(f"wrote {options.autograder_zip}: {len(self.cases)} tests")
            return ALL_CORRECT
        wanted = reports.parse(options.report)
        for path in options.hide:
            if not os.path.exists(path):
                raise UsageError(f"--hide {path}: no such file or folder")
        folder = find_submission(options.submission or os.path.join(CHECKOUT, "master"))
        return self.grade(folder, self.hidden(tests, wanted, folder), wanted)

    def hidden(self, tests: str, wanted: list[tuple[str, str]], folder: str) -> list[str]:
        """What the submission must not see."""
        paths = [tests, os.path.join(CHECKOUT, "tests"), HERE, *map(os.path.abspath, self.options.hide)]
        for start in (tests, CHECKOUT):
            # A repository's history holds the expected outputs too.
            parent = start
            while parent != os.path.dirname(parent):
                paths.append(os.path.join(parent, ".git"))
                parent = os.path.dirname(parent)
        used = [folder, os.path.join(CHECKOUT, "master"), sys.prefix, os.path.expanduser("~")]
        for _, path in wanted:
            if path != reports.STANDARD_OUTPUT:
                parent = os.path.dirname(path)
                in_use = any(os.path.realpath(place).startswith(os.path.realpath(parent)) for place in used)
                paths.append(path if in_use else parent)
        own_history = os.path.join(os.path.realpath(folder), ".git")
        found = {os.path.realpath(path): None for path in paths if os.path.exists(path)}
        return [path for path in found if path != own_history and path != os.path.realpath(folder)]

    def grade(self, folder: str, hidden: list[str], wanted: list[tuple[str, str]]) -> int:
        """Build and run, with the reports written on every way out."""
        options = self.options
        sandboxes = Sandboxes()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._interrupt)
        record = groups.record("grader", os.getpid(), " ".join(sys.argv))
        summary = reports.Summary([], 0.0, self.started_at, problem=options.autolab_problem)
        limits = command_line.limits_of(options)
        submission = None
        status = SOME_WRONG
        try:
            separation = isolation.choose(options.isolation, sandboxes)
            self._describe(separation, hidden)
            if options.submission is None and separation.uid is not None and separation.mode == "processes":
                self._keep_identity_where_needed(separation)
            slots = options.jobs if separation.side_by_side() else 1
            submission = Submission(folder, separation, sandboxes, limits, hidden, slots, options.env)
            status = self._build_and_run(submission, summary, slots)
        except Interrupted as interrupted:
            status = 128 + interrupted.number
            summary.message = f"the grading was interrupted by {signal.Signals(interrupted.number).name}"
        finally:
            # From here on nothing may be lost; whoever asked to end has been heard.
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            sandboxes.stop()
            self.progress.wipe()
            if submission is not None:
                submission.close()
            groups.forget(record)
        summary.results = [self.results.get(case.name, Result(case, NOT_RUN)) for case in self.cases]
        summary.seconds = time.time() - self.started_at
        self._print_rest(summary)
        last = reports.write(wanted, summary)
        if last:
            print(last, end="", flush=True)
        if any(kind == "classroom50" for kind, _ in wanted) and status in (SOME_WRONG, BUILD_FAILED):
            return ALL_CORRECT
        return status

    @staticmethod
    def _interrupt(number: int, _frame: object) -> None:
        raise Interrupted(number)

    def _describe(self, separation: isolation.Isolation, hidden: list[str]) -> None:
        print(f"isolation: {separation.describe()}", file=sys.stderr)
        if self.options.jobs > 1 and not separation.side_by_side():
            print(
                f"--jobs {self.options.jobs}: one test at a time, since they share ports here",
                file=sys.stderr,
            )
        if separation.mode == "processes" and separation.uid is not None:
            open_tests = isolation.readable_by_others(hidden[0])
            if open_tests:
                print(
                    f"the expected outputs can be read by a submission: chmod go-rwx {hidden[0]}",
                    file=sys.stderr,
                )

    @staticmethod
    def _keep_identity_where_needed(separation: isolation.Isolation) -> None:
        """This checkout's own servers are trusted, and may stand where nobody else can reach them."""
        if not isolation.readable_by_others(CHECKOUT):
            separation.uid = None
            print("the servers run as root, since no other user may enter this checkout", file=sys.stderr)

    def _build_and_run(self, submission: Submission, summary: reports.Summary, slots: int) -> int:
        options = self.options
        self.progress.show("building")
        limits = command_line.limits_of(options)
        limits.seconds = options.build_limit
        # Without --submission it is this checkout's own server: built where it stands, as its author would.
        try:
            submission.build(limits, trusted=options.submission is None, network=options.build_network)
        except BuildFailed as error:
            summary.build_failed = True
            summary.message = str(error)
            return BUILD_FAILED
        for note in submission.notes:
            print(note, file=sys.stderr)
        settings = Settings(
            command_line.limits_of(options),
            options.pace,
            options.lab,
            options.reply_framing,
            slots,
            options.repeat,
            options.hide_expected,
            options.one_pace,
            lambda case: command_line.repeat_command(self.parser, options, case),
            Traces(os.path.abspath(options.trace), submission.folder, submission.work)
            if options.trace
            else None,
        )
        runner = Runner(submission, settings)
        try:
            runner.grade_all(self.cases, lambda *values: self._on_result(runner, *values))
        finally:
            for result in runner.results(self.cases):
                self.results[result.case.name] = result
        done = list(self.results.values())
        return ALL_CORRECT if all(result.verdict == CORRECT for result in done) else SOME_WRONG

    def _on_result(self, runner: Runner, done: int, total: int, result: Result | None) -> None:
        if result is not None and self.options.repeat == 1:
            self.results[result.case.name] = result
            self._print_ready()
        names = ", ".join(sorted(runner.running))
        self.progress.show(f"{done} of {total}  {names}")

    def _print_ready(self) -> None:
        """The lines that are due, in the order of names, whatever finished first."""
        while self.printed < len(self.cases) and self.cases[self.printed].name in self.results:
            self._print_result(self.results[self.cases[self.printed].name])
            self.printed += 1

    def _print_result(self, result: Result) -> None:
        self.progress.say(self.progress.paint(result.line(), result.verdict))
        if result.explanation:
            for line in result.explanation.split("\n"):
                self.progress.say(f"    {line}")

    def _print_rest(self, summary: reports.Summary) -> None:
        if summary.build_failed:
            self.progress.say(f"the build failed: {summary.message}")
            return
        if self.options.repeat > 1:
            self._print_table(summary)
        else:
            for case in self.cases[self.printed :]:
                self._print_result(self.results.get(case.name, Result(case, NOT_RUN)))
        if summary.message:
            self.progress.say(summary.message)
        parts = [f"{summary.count(CORRECT)} of {len(summary.results)} correct"]
        parts += [f"{summary.count(word)} {word}" for word in (WRONG, NOT_RUN) if summary.count(word)]
        score, points = reports.number(summary.score), reports.number(summary.points)
        self.progress.say(f"{', '.join(parts)}; {score} of {points} points ({summary.seconds:.1f} s)")

    def _print_table(self, summary: reports.Summary) -> None:
        width = max(len(case.name) for case in self.cases)
        say = self.progress.say
        say(
            f"{'test'.ljust(width)}  {'runs':>5}  {'wrong':>5}  {'rate':>6}  {'median s':>8}  {'slowest s':>9}"
        )
        for result in summary.results:
            rate = f"{100 * result.wrong_runs / result.runs:.0f} %" if result.runs else "-"
            say(
                f"{result.case.name.ljust(width)}  {result.runs:>5}  {result.wrong_runs:>5}  {rate:>6}  "
                f"{result.seconds:>8.2f}  {result.seconds_max:>9.2f}"
            )
        for result in summary.results:
            if result.verdict == WRONG:
                say()
                self._print_result(result)


def main() -> int:
    """The program."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            # A terminal that cannot show a character must not end the grading.
            stream.reconfigure(errors="backslashreplace")
    try:
        return Grading(sys.argv[1:]).main()
    except UsageError as error:
        print(f"grading.py: {error}", file=sys.stderr)
        return USAGE
    except argparse.ArgumentError as error:
        print(f"grading.py: {error}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return SOME_WRONG
    except Exception as error:  # a traceback's status would be that of a wrong answer
        traceback.print_exc()
        print(f"grading.py: it failed itself, and not the submission: {error}", file=sys.stderr)
        return USAGE


if __name__ == "__main__":
    sys.exit(main())
