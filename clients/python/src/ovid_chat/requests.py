"""What was asked of servers and is not answered yet, messages and the log-in apart. Pure: no clock, no sockets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Callable

from ovid_chat import chat_pb2 as pb
from ovid_chat.contract import Settled
from ovid_chat.errors import ChatError, Unknown, error_of


@dataclass
class _Request:
    ticket: Any
    route: pb.Route
    value: Callable[[pb.Route], Any]
    # Whether it may be asked again on another connection.
    reads: bool
    sent: bool = False


class Requests:
    """All requests under way, by their ids, in their order."""

    def __init__(self) -> None:
        self._requests: dict[int, _Request] = {}

    def put(self, ticket: object, route: pb.Route, value: Callable[[pb.Route], Any], reads: bool) -> None:
        """Takes a request, whose id stays; what `reads` is asked again on another connection."""
        self._requests[route.id] = _Request(ticket, route, value, reads)

    def forget(self, ticket: object) -> None:
        """Nobody waits for the answer any more."""
        self._requests = {n: request for n, request in self._requests.items() if request.ticket is not ticket}

    def take(self) -> Iterator[pb.Route]:
        """What is to be sent now; it has been sent then."""
        for request in self._requests.values():
            if not request.sent:
                request.sent = True
                yield request.route

    def has(self, route_id: int) -> bool:
        """Whether this is the id of a request that waits for its answer."""
        return route_id in self._requests

    def answered(self, route: pb.Route) -> Settled:
        """Takes the answer to a request."""
        request = self._requests.pop(route.id)
        response = route.response
        if not route.HasField("response") or response.success:
            return Settled(request.ticket, request.value(route), None)
        error = error_of(response.errorCode, response.message)
        if isinstance(error, Unknown):
            error.pending = None
        return Settled(request.ticket, None, error)

    def disconnected(self, why: str) -> list[Settled]:
        """What was sent and does not only read may have been done: it is not asked again."""
        broken = Unknown(f"the connection broke before the answer: {why}")
        settled = []
        for number, request in list(self._requests.items()):
            if request.sent and not request.reads:
                del self._requests[number]
                settled.append(Settled(request.ticket, None, broken))
            request.sent = False
        return settled

    def give_up(self, error: ChatError) -> list[Settled]:
        """None of them is going to be answered."""
        settled = [Settled(request.ticket, None, error) for request in self._requests.values()]
        self._requests.clear()
        return settled
