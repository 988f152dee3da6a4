"""Pace `ready`: waiting for a condition instead of a time.

After a start or a crash the grid is ready when every live server reports exactly the live set. The servers
are asked behind the scenes, on the connection of the script's own commands; `connection.py` keeps the answers
apart.
"""

from __future__ import annotations

import time

import report
from connection import Question
from grid import Grid, Server

STEP_SECONDS_MIN, STEP_SECONDS_MAX = 0.002, 0.05


class Readiness:
    """One such wait."""

    def __init__(self, grid: Grid, limit_seconds: float, when: str) -> None:
        self._grid, self._limit_seconds, self._when = grid, limit_seconds, when
        self._verb = grid.lab.verbs[grid.lab.alive_verb]
        self._ends_at = time.monotonic() + limit_seconds
        self._asked: dict[int, Question] = {}
        self._said: dict[int, frozenset[int] | None] = {}

    def wait(self) -> bool:
        """Whether the grid was ready in time. What it is lacking otherwise is told, but is no failure by itself."""
        step = STEP_SECONDS_MIN
        try:
            while True:
                wrong = self._disagreeing()
                if not wrong:
                    return True
                left = self._ends_at - time.monotonic()
                if left <= 0:
                    self._tell(wrong)
                    return False
                if self._asked:
                    self._grid.sleep(min(step, left))
                    step = min(step * 1.5, STEP_SECONDS_MAX)
                self._ask(wrong)
                self._grid.wait(self._all_settled, self._ends_at - time.monotonic())
                self._listen()
        finally:
            for question in self._asked.values():
                question.abandoned = question.answer is None

    def _ask(self, servers: list[Server]) -> None:
        """Asks each server that owes no answer. One that does is not asked again: it would only be asked in vain."""
        assert self._verb.answer is not None
        for server in servers:
            earlier = self._asked.get(server.id)
            if server.lost is None and (earlier is None or _is_settled(earlier)):
                question = Question(self._verb.answer, hidden=True, line=self._grid.out.line)
                self._asked[server.id] = question
                self._grid.send(server, self._verb.name.encode(), question)

    def _all_settled(self) -> bool:
        servers = self._grid.servers
        return all(_is_settled(asked) or servers[each].lost for each, asked in self._asked.items())

    def _disagreeing(self) -> list[Server]:
        """The servers that can be asked and have not reported exactly the live set."""
        known, doubtful = self._live_sets()
        return [
            self._grid.servers[each]
            for each in sorted(known)
            if (self._said.get(each) or set()) - doubtful != known
        ]

    def _listen(self) -> None:
        for each, question in self._asked.items():
            if _is_settled(question):
                answer = question.answer
                self._said[each] = None if answer is None else self._grid.lab.reported_alive(answer)

    def _live_sets(self) -> tuple[frozenset[int], frozenset[int]]:
        """The ids that must be reported, and those of which nobody can say: they run, but cannot be asked."""
        known, doubtful = set(), set()
        for server in self._grid.servers.values():
            if server.mute or (server.lost is not None and server.lost[0] == report.CLOSED):
                doubtful.add(server.id)
            elif server.lost is None:
                known.add(server.id)
        return frozenset(known), frozenset(doubtful)

    def _tell(self, wrong: list[Server]) -> None:
        known, _ = self._live_sets()
        parts = []
        for server in wrong:
            said = self._said.get(server.id)
            parts.append(f"server {server.id} " + ("gives no list" if said is None else f"says {_ids(said)}"))
        text = f"not ready {self._limit_seconds:g} s {self._when}: alive are {_ids(known)}, but {', '.join(parts)}"
        self._grid.out.problem(report.NOT_READY, text)


def _is_settled(question: Question) -> bool:
    return question.answer is not None or question.spoiled


def _ids(servers: frozenset[int]) -> str:
    return ",".join(str(each) for each in sorted(servers)) or "none"
