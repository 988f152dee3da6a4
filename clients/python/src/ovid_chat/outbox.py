"""Messages under way: numbered, and kept until a server has answered for good. Pure: no clock, no sockets.

A client instance numbers its messages from 1 without gaps, and a server accepts a number only when it is the next one.
So whatever is sent again, by whatever server, is accepted once and in its order. A number whose message is refused for
good is used up; one that is answered by BUSY or UNKNOWN is not, and what came behind it is out of order.
"""

from __future__ import annotations

import enum
import random
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from ovid_chat import chat_pb2 as pb
from ovid_chat.errors import ChatError, Unknown, error_of
from ovid_chat.model import Sent, position_of, time_of

PAUSE_S_MIN = 0.05
PAUSE_S_MAX = 1.0
BUSY_S_MAX = 5.0
"""A message that all servers have answered by BUSY for so long is given up: those behind it wait for it."""

# Of the answers to a message: it is to be sent again.
_AGAIN = (pb.BUSY, pb.UNKNOWN, pb.OUT_OF_ORDER, pb.CLIENT_FORGOTTEN, pb.NOT_LOGGED_IN)


class Verdict(enum.Enum):
    """How a client goes on after an answer."""

    ON = enum.auto()
    """As before."""
    RENEW = enum.auto()
    """With a new instance: a number that the server waits for will never come."""
    LOG_IN = enum.auto()
    """With another log-in: the server does not know of the last one."""
    FORGOTTEN = enum.auto()
    """With a new instance: the server does not know this one."""


class Post:
    """A message under way."""

    __slots__ = ("busy_since", "doubtful", "message", "number", "sent", "ticket")

    def __init__(self, ticket: object, message: pb.Message, number: int) -> None:
        self.ticket = ticket
        self.message = message
        self.number = number
        # The id under which it was sent on this connection and was not answered yet.
        self.sent: int | None = None
        # Whether it was sent on an earlier connection that broke before the answer.
        self.doubtful = False
        self.busy_since: float | None = None


class Outbox:
    """All messages under way, in their order."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._posts: OrderedDict[int, Post] = OrderedDict()
        self._by_id: dict[int, Post] = {}
        # Those that are to be sent are the ones from here on, and those that were answered by "again".
        self._fresh = 1
        self._again: dict[int, Post] = {}
        self._next = 1
        self._pauses = 0
        self._pause_until = 0.0
        self.settled: list[tuple[Any, Sent | None, ChatError | None]] = []
        """Tickets of messages that were answered for good; whoever reads them clears them."""

    def __len__(self) -> int:
        return len(self._posts)

    def put(self, ticket: object, message: pb.Message) -> None:
        """Takes a message; it has its number from now on."""
        message.number = self._next
        self._posts[self._next] = Post(ticket, message, self._next)
        self._next += 1

    def deadline(self, window: int) -> float | None:
        """When there will be something to send; none if that depends on answers."""
        return self._pause_until if self._wants(window) else None

    def take(self, now: float, window: int) -> Iterator[Post]:
        """What is to be sent now; whoever takes it calls `note_sent` for each."""
        if now < self._pause_until:
            return
        while self._wants(window):
            if self._again:
                yield self._again[min(self._again)]
            else:
                yield self._posts[self._fresh]

    def _wants(self, window: int) -> bool:
        return len(self._by_id) < window and (bool(self._again) or self._fresh < self._next)

    def note_sent(self, post: Post, route_id: int) -> None:
        """A message has left under this id."""
        post.sent = route_id
        self._by_id[route_id] = post
        if self._again.pop(post.number, None) is None:
            self._fresh = post.number + 1

    def has(self, route_id: int) -> bool:
        """Whether this is the id of a message that waits for its answer."""
        return route_id in self._by_id

    def answered(self, now: float, route: pb.Route, cluster: bytes) -> Verdict:
        """Takes the answer to a message, of a server of this cluster."""
        post = self._by_id.pop(route.id)
        post.sent = None
        response = route.response
        code = pb.NONE if response.success else response.errorCode
        if code == pb.NONE:
            self._pauses = 0
            self._settle(post, sent_of(route, cluster), None)
            return Verdict.ON
        if code not in _AGAIN:
            self._settle(post, None, error_of(code, response.message))
            return Verdict.ON
        self._again[post.number] = post
        if code == pb.CLIENT_FORGOTTEN:
            return Verdict.FORGOTTEN
        if code == pb.NOT_LOGGED_IN:
            return Verdict.LOG_IN
        first = self.first()
        if code == pb.OUT_OF_ORDER:
            # The number that is expected is not under way: this one would be out of order for ever.
            lost = route.posted.HasField("expected") and route.posted.expected < first
            return Verdict.RENEW if lost else Verdict.ON
        if code == pb.UNKNOWN:
            post.doubtful, post.busy_since = True, None
        if post.number == first:
            self._pause(now)
            if code == pb.BUSY:
                return self._busy(now, post, error_of(code, response.message))
        return Verdict.ON

    def _busy(self, now: float, post: Post, error: ChatError) -> Verdict:
        if post.busy_since is None:
            post.busy_since = now
        # Where another copy may yet be accepted it cannot be said that it was not.
        if now - post.busy_since < BUSY_S_MAX or post.doubtful:
            return Verdict.ON
        self._settle(post, None, error)
        return Verdict.RENEW

    def _pause(self, now: float) -> None:
        longest = min(PAUSE_S_MIN * 2.0 ** min(self._pauses, 16), PAUSE_S_MAX)
        self._pauses += 1
        self._pause_until = now + longest * self._rng.uniform(0.5, 1.0)

    def _settle(self, post: Post, sent: Sent | None, error: ChatError | None) -> None:
        del self._posts[post.number]
        self._again.pop(post.number, None)
        self.settled.append((post.ticket, sent, error))

    def disconnected(self) -> None:
        """Everything that is not settled is to be sent again, from the first."""
        for post in self._by_id.values():
            post.sent, post.doubtful = None, True
        self._by_id.clear()
        self._again.clear()
        self._fresh = next(iter(self._posts), self._next)
        self._pause_until, self._pauses = 0.0, 0

    def first(self) -> int:
        """The number of the first message under way, or that of the next one."""
        return next(iter(self._posts), self._next)

    def renew(self, forgotten: bool) -> None:
        """The client begins a new instance: messages are numbered from 1 again. Call it between two connections.

        Without `forgotten`, a number before the first one under way was never accepted and never will be, and so none
        of these was. With it, nobody knows what became of those that were under way when a connection broke.
        """
        posts = list(self._posts.values())
        self._posts.clear()
        self._by_id.clear()
        self._again.clear()
        self._fresh = self._next = 1
        for post in posts:
            if post.doubtful and forgotten:
                error = Unknown(
                    "the servers do not know this client any more, nor what became of its message"
                )
                self.settled.append((post.ticket, None, error))
                continue
            post.doubtful, post.sent, post.busy_since = False, None, None
            post.number = post.message.number = self._next
            self._posts[self._next] = post
            self._next += 1

    def give_up(self, error: ChatError) -> None:
        """Nothing will be sent any more."""
        for post in self._posts.values():
            never = not post.doubtful and post.sent is None
            self.settled.append(
                (post.ticket, None, error if never else Unknown(f"{error}; it may have been sent"))
            )
        self._posts.clear()
        self._by_id.clear()
        self._again.clear()
        self._fresh = self._next


def sent_of(route: pb.Route, cluster: bytes) -> Sent:
    """What a server of this cluster says of a message that it accepted."""
    posted = route.posted
    return Sent(
        position=position_of(posted.position, cluster) if posted.HasField("position") else None,
        time=time_of(posted.timeMs) if posted.HasField("timeMs") else None,
    )
