"""Runs tests, one attempt at a time or several side by side, and makes results of them."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

import ports
import verdict
from cases import Case
from order import Limits
from submission import Submission, remove_tree
from traces import Traces

CORRECT, WRONG, NOT_RUN = "correct", "wrong", "not run"
PORTS_SECONDS = 5.0
MASTER_SECONDS = 10.0  # to stop its servers when the time is over
LAB_PACE, READY_PACE = "lab", "ready"


@dataclass
class Settings:
    """What holds for all tests of one call."""

    limits: Limits
    pace: str = READY_PACE
    lab: str = "chatroom"
    framing: str = "newline"
    jobs: int = 1
    repeat: int = 1
    hide_expected: bool = False
    one_pace: bool = False
    repeat_command: Callable[[Case], str] = lambda case: ""
    traces: Traces | None = None


@dataclass
class Attempt:
    """One run of one test."""

    correct: bool
    seconds: float
    lines: list[str]  # the explanation
    cause: str | None = None  # why it did not come to its end
    came: str = ""
    interrupted: bool = False
    did_run: bool = True  # otherwise the machine is to blame, and nothing is known about the submission
    curable: bool = False  # whether the lab's pace could make a difference
    traces: str | None = None  # the folder with what the servers wrote about this run


@dataclass
class Result:
    """What is said about one test."""

    case: Case
    verdict: str
    seconds: float = 0.0
    remark: str = ""  # in the brackets after the seconds
    explanation: str = ""
    came: str = ""
    runs: int = 0
    wrong_runs: int = 0
    seconds_max: float = 0.0

    @property
    def score(self) -> float:
        """Points earned."""
        return self.case.points if self.verdict == CORRECT else 0.0

    def line(self) -> str:
        """The one line of a test."""
        if self.verdict == NOT_RUN:
            return f"{self.case.name} {self.verdict}"
        return f"{self.case.name} {self.verdict} ({self.seconds:.1f} s{self.remark})"


@dataclass
class Runner:
    """Carries out tests of one submission."""

    submission: Submission
    settings: Settings
    running: set[str] = field(default_factory=set)

    def attempt(self, case: Case, pace: str) -> Attempt:
        """One run of one test at one pace."""
        settings = self.settings
        if not self.submission.isolation.side_by_side():
            held = ports.wait_until_free(ports.needed(case.script), PORTS_SECONDS)
            if held:
                text = f"it cannot run here: port {held[0]} is in use by {ports.holder(held[0])}"
                return Attempt(False, 0.0, [text], text, did_run=False)
        arguments = ["--pace", pace, "--lab", settings.lab]
        arguments += ["--reply-framing", settings.framing, "--limit", f"{settings.limits.seconds:g}"]
        # The master keeps the limit itself and then ends its servers in order; the sandbox ends a master that cannot.
        longer = dataclasses.replace(settings.limits, seconds=settings.limits.seconds + MASTER_SECONDS)
        traces_to = settings.traces.new_folder() if settings.traces else None
        finished = self.submission.run(longer, arguments, case.script, traces_to)
        came = finished.stdout.decode("utf-8", "surrogateescape")
        record = verdict.Record.read(finished.record)
        cause = verdict.cause(finished.outcome, record, settings.limits)
        correct = cause is None and verdict.same(case.expected, came)
        lines = []
        if not correct:
            lines += [cause] if cause else []
            lines += verdict.explain(case.expected, came, record, settings.hide_expected)
            lines += verdict.problems(record)
            lines += verdict.logs(finished.outcome)
            if not record.commands:
                # The master did not come to say anything in its record; what it said elsewhere must not be lost.
                said = finished.stderr.decode("utf-8", "replace").strip().splitlines()[-8:]
                lines += [f"master.py said: {verdict.visible_but_blanks(line)}" for line in said]
        if finished.outcome.left and record.ended:
            survivor = verdict.visible_but_blanks(finished.outcome.left[0])
            lines.append(f"left running after the end of the test, and after stopall: {survivor}")
        lines += finished.outcome.notes
        return Attempt(
            correct,
            finished.seconds,
            lines,
            cause,
            came,
            finished.outcome.interrupted,
            finished.outcome.error is None,
            not correct and cause is None and not record.reached_limit(),
            traces_to,
        )

    def grade(self, case: Case) -> Result:
        """One test with everything that belongs to it: repeats, and a second chance at the lab's pace."""
        self.running.add(case.name)
        first = None
        try:
            if self.settings.traces:
                self.settings.traces.forget(case.name)
            first = self.attempt(case, self.settings.pace)
            if first.interrupted:
                return Result(case, NOT_RUN, explanation="the run was interrupted", came=first.came)
            if not first.did_run:
                return Result(case, NOT_RUN, explanation="\n".join(first.lines), came=first.came)
            result = self._result(case, first)
            is_last_word = (
                self.settings.one_pace or self.settings.repeat > 1 or self.settings.pace == LAB_PACE
            )
            if first.curable and not is_last_word:
                self._second_chance(result, first)
            if result.verdict == WRONG:
                if self.settings.traces and first.traces:
                    result.explanation += "\n" + self.settings.traces.show(case.name, first.traces)
                result.explanation += f"\nto repeat just this test: {self.settings.repeat_command(case)}"
            return result
        except Exception as error:  # one test that cannot run must not lose the others' results
            return Result(case, NOT_RUN, explanation=f"the grader failed: {type(error).__name__}: {error}")
        finally:
            self.running.discard(case.name)
            self._drop_traces(first)

    @staticmethod
    def _drop_traces(attempt: Attempt | None) -> None:
        if attempt is not None and attempt.traces is not None:
            remove_tree(attempt.traces)

    def _result(self, case: Case, attempt: Attempt) -> Result:
        word = CORRECT if attempt.correct else WRONG
        explanation = "\n".join(attempt.lines)
        wrong_runs = 0 if attempt.correct else 1
        return Result(
            case, word, attempt.seconds, "", explanation, attempt.came, 1, wrong_runs, attempt.seconds
        )

    def _second_chance(self, result: Result, first: Attempt) -> None:
        """The contract's times are the lab's, so what is right at its pace is right, and is marked."""
        second = self.attempt(result.case, LAB_PACE)
        self._drop_traces(second)
        if second.interrupted or not second.did_run:
            return
        if second.correct:
            result.verdict = CORRECT
            result.remark = f" at the lab's pace; wrong at the pace of readiness, {first.seconds:.1f} s"
            result.seconds = second.seconds
            result.came = second.came
            result.explanation = "at the pace of readiness it was wrong:\n" + result.explanation
        else:
            result.remark = f"; at the lab's pace also wrong, {second.seconds:.1f} s"

    def grade_all(
        self, cases: list[Case], on_result: Callable[[int, int, Result | None], None]
    ) -> list[Result]:
        """All tests, `jobs` at a time; `on_result(done, of, result)` is called as they finish, and now and then.

        An exception out of `on_result` or a signal's handler ends what runs; what has finished is kept in `finished`.
        """
        self.finished: dict[int, list[Result]] = {number: [] for number in range(len(cases))}
        total = len(cases) * self.settings.repeat
        pool = concurrent.futures.ThreadPoolExecutor(self.settings.jobs)
        futures = {}
        try:
            for _ in range(self.settings.repeat):
                for number, case in enumerate(cases):
                    futures[pool.submit(self.grade, case)] = number
            waiting = set(futures)
            while waiting:
                done, waiting = concurrent.futures.wait(
                    waiting, timeout=0.2, return_when=concurrent.futures.FIRST_COMPLETED
                )
                for future in done:
                    self.finished[futures[future]].append(future.result())
                    on_result(total - len(waiting), total, future.result())
                on_result(total - len(waiting), total, None)
        except BaseException:
            self.submission.sandboxes.stop()
            for future in futures:
                future.cancel()
            raise
        finally:
            pool.shutdown(wait=True)
        return self.results(cases)

    def results(self, cases: list[Case]) -> list[Result]:
        """One result a test, in the order of their names, whatever finished first or not at all."""
        return [merge(case, self.finished.get(number, [])) for number, case in enumerate(cases)]


def merge(case: Case, results: list[Result]) -> Result:
    """What to say of several runs of one test: it is correct when all were."""
    ran = [result for result in results if result.verdict != NOT_RUN]
    if not ran:
        return results[0] if results else Result(case, NOT_RUN)
    if len(ran) == 1:
        return ran[0]
    wrong = [result for result in ran if result.verdict == WRONG]
    shown = wrong[0] if wrong else ran[0]
    merged = Result(case, shown.verdict, statistics.median(result.seconds for result in ran))
    merged.explanation, merged.came = shown.explanation, shown.came
    merged.runs, merged.wrong_runs = len(ran), len(wrong)
    merged.seconds_max = max(result.seconds for result in ran)
    merged.remark = f" in the middle of {len(ran)} runs" + (f"; {len(wrong)} of them wrong" if wrong else "")
    return merged
