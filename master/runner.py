"""The run of a script: carries out its commands, one after the other, and reports what the servers answer."""

from __future__ import annotations

import time
from dataclasses import dataclass

import report
from connection import Question
from grid import PORT_FREE_SECONDS, Grid, Server, connect, wait_for_free_port
from labs import CRASH, START, Lab
from process import Launcher
from readiness import STEP_SECONDS_MAX, STEP_SECONDS_MIN, Readiness
from report import Report
from script import EXIT, SLEEP, Command, Mistake, check, clean, decode, parse

READY_PACE, LAB_PACE = "ready", "lab"
ANSWER_SECONDS = 10.0
# A server that has once left a question unanswered is waited for this long only.
ANSWER_SECONDS_MUTE = 1.0
# After a line that is no answer the true one may still follow.
ANSWER_SECONDS_SPOILED = 0.5
# A `process` that failed may have left its server in the background all the same.
FAILED_START_SECONDS = 0.3


@dataclass(frozen=True)
class Settings:
    """How a run is done."""

    lab: Lab
    launcher: Launcher
    pace: str = READY_PACE
    framing: str = "newline"
    limit_seconds: float | None = 120.0


class Run:
    """One script on one grid."""

    def __init__(self, settings: Settings, out: Report) -> None:
        self.lab, self.launcher, self.pace, self.out = settings.lab, settings.launcher, settings.pace, out
        self.grid = Grid(settings.lab, settings.launcher, out, settings.framing, settings.limit_seconds)

    def execute(self, number: int, raw: bytes) -> bool:
        """Carries out one line of the script; False when it ends the script."""
        line = clean(raw)
        if not line:
            return True
        self.out.command(number, decode(line))
        self.grid.turn(0)  # Whatever has happened since the last line is told before this one.
        try:
            command = parse(number, line, self.lab)
            check(command, self._ports(command))
        except Mistake as mistake:
            self.out.message(mistake.message)
            self.out.problem(report.BAD_COMMAND, mistake.reason, mistake.server)
            return True
        if command.word == SLEEP:
            self.grid.sleep(command.seconds)
        elif command.verb is not None and command.verb.effect == START:
            self._start(command)
        elif command.verb is not None and command.verb.effect == CRASH:
            self._crash(self.grid.servers[command.server])
        elif command.verb is not None:
            self._send(self.grid.servers[command.server], command)
        return command.word != EXIT

    def _ports(self, command: Command) -> dict[int, int]:
        """The ids and ports that are taken, as this command sees it: a server that has died may be started again."""
        starts = command.verb is not None and command.verb.effect == START
        return {each.id: each.port for each in self.grid.servers.values() if not (starts and each.lost)}

    def _start(self, command: Command) -> None:
        ends_at = time.monotonic() + self.lab.start_seconds
        for dead in [each for each in self.grid.servers.values() if each.lost and each.id == command.server]:
            self.grid.crash(dead)
            del self.grid.servers[dead.id]
        if not wait_for_free_port(command.port, PORT_FREE_SECONDS):
            text = f"port {command.port} is in use by another process, so it cannot be started"
            self.out.problem(report.NO_START, text, command.server)
            return
        words = [str(command.server), str(command.count), str(command.port)]
        try:
            server = self.grid.launch(command.server, command.port, words)
        except (OSError, ValueError) as error:
            reason = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else str(error)
            self.out.problem(report.NO_START, f"cannot run {self.launcher.process}: {reason}", command.server)
            return
        if not self._connect(server, ends_at):
            return
        if self.pace == LAB_PACE:
            self.grid.sleep(ends_at - time.monotonic())
        else:
            Readiness(self.grid, self.lab.start_seconds, "after the start").wait()

    def _connect(self, server: Server, ends_at: float) -> bool:
        """Connects to a server as soon as it listens; False when it does not in time, which is told."""
        step = STEP_SECONDS_MIN
        while True:
            sock = connect(server.port)
            if sock is not None:
                self.grid.adopt(server, sock)
                return True
            now = time.monotonic()
            if server.process.failed():
                ends_at = min(ends_at, now + FAILED_START_SECONDS)
            if now >= ends_at:
                break
            self.grid.sleep(step)
            step = min(step * 1.5, STEP_SECONDS_MAX)
        status = server.process.status()
        if server.process.failed():
            text = f"its process has ended ({status}) before it listened on port {server.port}"
        else:
            text = f"nothing listens on port {server.port} {self.lab.start_seconds:g} s after the start"
            text += (
                f", and its process has ended ({status})"
                if status and not server.process.is_running()
                else ""
            )
        server.lost = (report.NO_START, text)
        errors = server.process.last_errors()
        self.grid.end(server)  # One that came later would disturb the others at an unknown moment.
        self.out.problem(report.NO_START, text + errors, server.id)
        return False

    def _crash(self, server: Server) -> None:
        if server.lost is not None:
            self.out.note(f"nothing to crash: {server.lost[1]}", server.id)
        self.grid.crash(server)
        del self.grid.servers[server.id]
        if self.pace == LAB_PACE:
            self.grid.sleep(self.lab.crash_seconds)
        else:
            Readiness(self.grid, self.lab.crash_seconds, "after the crash").wait()

    def _send(self, server: Server, command: Command) -> None:
        assert command.verb is not None
        if server.lost is not None:
            kind, words = server.lost
            self.out.problem(kind, f"`{command.word}` was not sent: {words}", server.id)
        elif command.verb.answer is not None:
            question = Question(command.verb.answer, hidden=False, line=command.line)
            self.grid.send(server, command.to_send, question)
            self._await_answer(server, question, command.word)
        else:
            self.grid.send(server, command.to_send)
            self._await_sent(server)

    def _await_sent(self, server: Server) -> None:
        connection = server.connection
        assert connection is not None
        limit = ANSWER_SECONDS_MUTE if server.mute else ANSWER_SECONDS
        if not self.grid.wait(lambda: connection.closed or not connection.has_unsent(), limit):
            server.mute = True
            self.out.problem(
                report.NO_ANSWER, f"it does not read what it is sent (waited {limit:g} s)", server.id
            )

    def _await_answer(self, server: Server, question: Question, word: str) -> None:
        limit = ANSWER_SECONDS_MUTE if server.mute else ANSWER_SECONDS
        self.grid.wait(
            lambda: question.answer is not None or question.spoiled or server.lost is not None, limit
        )
        if question.spoiled:
            self.grid.wait(
                lambda: question.answer is not None or server.lost is not None, ANSWER_SECONDS_SPOILED
            )
        assert server.connection is not None
        if question.answer is not None or server.connection.settle(question):
            server.mute = False
            assert question.answer is not None
            self.out.answer(server.id, decode(question.answer), question.answered_at - question.asked_at)
            return
        if server.lost is not None:
            kind, words = server.lost
            self.out.problem(kind, f"no answer to `{word}`: {words}", server.id)
        elif not question.spoiled:
            server.mute = True
            self.out.problem(report.NO_ANSWER, f"no answer to `{word}` within {limit:g} s", server.id)
