"""The client for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import random
from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import Any, Callable

from ovid_chat import chat_pb2 as pb
from ovid_chat.contract import Arrived, Event, Settings, Settled
from ovid_chat.core import Core, Phase
from ovid_chat.driver import Driver
from ovid_chat.errors import Busy, ChatError, Unknown, Unreachable
from ovid_chat.model import (
    Address,
    Conversation,
    Happening,
    History,
    Message,
    Sent,
    Stopped,
    conversation_of,
    message_of,
    ms_of,
)
from ovid_chat.tls import Tls, context_of

POSTS_MAX = 100_000
"""So many messages wait at most to be accepted by a server."""
MESSAGES_MAX = 10_000
"""When so many messages wait to be read by the user, the client reads no more of them until half are left."""
READ_S_MAX = 1.0
"""So long a client that closes waits until what was read is stored."""


class AsyncClient:
    """A user of the chat, on one of its servers: when that dies, on another one, without losing or repeating a message.

    `servers` and `discovery` are addresses, `host:port` each; the servers name the others of their cluster. Discovery
    asks by UDP, with the cluster's group tag and secret. `tls` encrypts the connections: it is an authority's
    certificate (a file), True for the authorities that this machine believes, or an `ssl.SSLContext`. The servers'
    certificates have to name the addresses at which they are reached, or all of them `tls_name`. `echo` asks for what
    the user sends elsewhere, too. `timeout` is in seconds and holds for each call. `on_event` is told what happens in
    between (`Up`, `Down`, `Stopped`, `Online`, `Read`), on the event loop. Chance (back-off, the client's name) comes
    from `rng`.

    Use it by `async with`. The first call that needs it logs in.
    """

    def __init__(
        self,
        user: str,
        password: str,
        servers: Iterable[str] = (),
        discovery: Iterable[str] = (),
        *,
        group_tag: str = "",
        secret: str = "",
        tls: Tls = None,
        tls_name: str | None = None,
        echo: bool = False,
        timeout: float = 10.0,
        on_event: Callable[[Happening], None] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        settings = Settings(
            user=user,
            password=password,
            servers=_addresses(servers),
            discovery=_addresses(discovery),
            group_tag=group_tag,
            secret=secret,
            echo=echo,
        )
        if not settings.servers and not settings.discovery:
            raise ValueError("give at least one address, of a server or of discovery")
        self.user = user
        self.timeout = timeout
        self.on_event = on_event
        self.on_message: Callable[[Message], None] | None = None
        """Takes messages in place of `messages`; it acknowledges them by `acknowledge`."""
        self._core = Core(settings, rng or random.SystemRandom())
        self.on_stopped: Callable[[ChatError], None] | None = None
        """Takes what `messages` would raise when the client stops, where `on_message` takes messages."""
        self._tls, self._tls_name = context_of(tls), tls_name
        self._messages: deque[Message] = deque()
        self._stopped: ChatError | None = None
        self._driver: Driver | None = None
        self._arrived: asyncio.Event
        self._progress: asyncio.Event

    async def __aenter__(self) -> AsyncClient:
        # Here, since an event belongs to its loop in Python 3.9.
        self._arrived, self._progress = asyncio.Event(), asyncio.Event()
        self._driver = Driver(
            asyncio.get_running_loop(), self._core, self._tls, self._tls_name, self._on_event
        )
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        driver = self._driver
        if driver is None:
            return
        if kind is None:
            # What was posted and not awaited has its chance.
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._until(lambda: not self._core.under_way()), self.timeout)
            # Another session that begins now is not to get again what was read here.
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._until(lambda: not self._core.is_acknowledging()), READ_S_MAX)
        self._core.close()
        driver.carry_out()
        self._arrived.set()
        await driver.end()

    @property
    def server(self) -> Address | None:
        """The server that the user is logged in on, if any."""
        return self._core.server if self._core.phase is Phase.READY else None

    @property
    def cluster(self) -> bytes:
        """The identity of the cluster that the user was logged in to last; empty if its servers have none."""
        return self._core.cluster

    @property
    def under_way(self) -> int:
        """How many messages wait to be accepted."""
        return self._core.under_way()

    # The user.

    async def register(self, email: str | None = None, exist_ok: bool = False) -> None:
        """Registers the user, and logs in. Raises `NameTaken`; with `exist_ok` only if the password is another one."""
        await self._ask(lambda now, ticket: self._core.register(now, ticket, email, exist_ok))

    async def log_in(self) -> None:
        """Logs in. Every other call does so by itself. Raises `WrongPassword`."""
        await self._ask(self._core.log_in)

    async def unregister(self, password: str) -> None:
        """Removes the user for good."""
        user = pb.User(uname=self.user, password=password, action=pb.User.DELETE)
        await self._request(pb.Route(path=pb.Route.USER, user=user), reads=False)

    # Messages.

    def post(self, to: str, text: str, *, group: bool = False) -> asyncio.Future[Sent]:
        """Sends a message, without waiting. It is tried until a server has answered, on whatever server that is, and
        accepted at most once; messages keep their order. Raises `Busy` if too many wait."""
        if self._core.under_way() >= POSTS_MAX:
            raise Busy(f"{POSTS_MAX} messages wait to be accepted")
        return self._start(lambda now, ticket: self._core.post(now, ticket, to, text, group))

    async def send(self, to: str, text: str, *, group: bool = False, timeout: float | None = None) -> Sent:
        """Sends a message and waits until a server has accepted it. Raises `Unknown` if that takes too long: it goes on
        being tried, and `Unknown.pending` can be awaited."""
        pending = self.post(to, text, group=group)
        seconds = self.timeout if timeout is None else timeout
        done, _ = await asyncio.wait({pending}, timeout=seconds)
        if not done:
            raise Unknown(
                f"no server has accepted the message within {seconds} s; it goes on being tried", pending
            )
        return pending.result()

    async def messages(self, acknowledge: bool = True) -> AsyncIterator[Message]:
        """Messages for the user, those that were not read yet and then those that come, each one once.

        A message counts as read when the next one is asked for; without `acknowledge`, when `acknowledge` is called.
        Raises `Untrusted`, or another `Unreachable`, when no server can be used any more."""
        await self.log_in()
        while True:
            while not self._messages:
                if self._core.phase is Phase.CLOSED:
                    return
                if self._stopped is not None:
                    raise type(self._stopped)(str(self._stopped))
                self._arrived.clear()
                await self._arrived.wait()
            message = self._messages.popleft()
            if len(self._messages) == MESSAGES_MAX // 2:
                self._running().pause(False)
            yield message
            if acknowledge:
                self.acknowledge(message)

    def acknowledge(self, message: Message) -> None:
        """The user has read this message, and all before it in its conversation."""
        if message.position is not None and self._core.phase is not Phase.CLOSED:
            self._core.acknowledge(self._running().now(), message.position)
            self._running().carry_out_soon()

    def pause(self, paused: bool) -> None:
        """Stops to read from the server, or goes on: for an `on_message` that cannot keep up."""
        self._running().pause(paused)

    async def history(
        self,
        name: str,
        *,
        group: bool = False,
        before: int | None = None,
        since: datetime.datetime | None = None,
        until: datetime.datetime | None = None,
        limit: int = 50,
    ) -> History:
        """The last messages with a user, or of a group: those before a place (`History.before`), of a time or later, or
        before a time. The server may give fewer than `limit`."""
        history = pb.History(limit=limit)
        if before is not None:
            history.before = before
        if since is not None:
            history.sinceMs = ms_of(since)
        if until is not None:
            history.untilMs = ms_of(until)
        kind = pb.MessagesRequest.GROUP if group else pb.MessagesRequest.USER
        asked = pb.MessagesRequest(type=kind, id=name)
        route = pb.Route(path=pb.Route.MESSAGES_REQUEST, messagesRequest=asked, history=history)
        found: History = await self._request(route, lambda answer: _history(answer, self._core.cluster))
        return found

    # Groups, conversations, presence.

    async def create_group(self, name: str) -> None:
        """Makes a group; the user belongs to it. Raises `NameTaken`."""
        await self._group(name, pb.Group.CREATE)

    async def delete_group(self, name: str) -> None:
        """Ends a group for all. Raises `Forbidden` for whoever has not made it."""
        await self._group(name, pb.Group.DELETE)

    async def add_to_group(self, name: str, user: str) -> None:
        """Takes somebody into a group that the user belongs to."""
        await self._group(name, pb.Group.ADDUSER, user)

    async def remove_from_group(self, name: str, user: str) -> None:
        """Takes somebody out of a group."""
        await self._group(name, pb.Group.REMOVEUSER, user)

    async def leave_group(self, name: str) -> None:
        """Leaves a group."""
        await self._group(name, pb.Group.REMOVEUSER)

    async def conversations(self) -> list[Conversation]:
        """All whom the user writes with, and the user's groups."""
        route = pb.Route(path=pb.Route.MESSAGES_REQUEST, conversationsRequest=pb.ConversationsRequest())
        route.conversationsRequest.SetInParent()
        found: list[Conversation] = await self._request(route, _conversations)
        return found

    async def who(self, *users: str) -> dict[str, bool]:
        """Who is online: of these, or of all whom the user writes with."""
        route = pb.Route(path=pb.Route.USER, who=pb.WhoRequest(users=users))
        found: dict[str, bool] = await self._request(route, _who)
        return found

    # How it is done.

    async def _group(self, name: str, action: pb.Group.Action, user: str | None = None) -> None:
        group = pb.Group(gname=name, action=action)
        if user is not None:
            group.username = user
        await self._request(pb.Route(path=pb.Route.GROUP, group=group), reads=False)

    async def _request(
        self, route: pb.Route, value: Callable[[pb.Route], Any] = lambda _: None, reads: bool = True
    ) -> Any:  # noqa: ANN401 - what `value` makes
        return await self._ask(lambda now, ticket: self._core.request(now, ticket, route, value, reads))

    async def _ask(self, ask: Callable[[float, Any], None]) -> Any:  # noqa: ANN401 - depends on what is asked
        pending: asyncio.Future[Any] = self._start(ask)
        try:
            done, _ = await asyncio.wait({pending}, timeout=self.timeout)
        finally:
            if not pending.done():
                self._core.forget(pending)
        if done:
            return pending.result()
        if self._core.phase is Phase.READY:
            raise Unknown(f"no answer within {self.timeout} s")
        why = f" ({self._core.trouble})" if self._core.trouble else ""
        raise Unreachable(f"no server could be reached that logs the user in within {self.timeout} s{why}")

    def _start(self, ask: Callable[[float, Any], None]) -> asyncio.Future[Any]:
        driver = self._running()
        self._stopped = None
        pending: asyncio.Future[Any] = driver.loop.create_future()
        ask(driver.now(), pending)
        driver.carry_out_soon()
        return pending

    def _running(self) -> Driver:
        if self._driver is None or self._core.phase is Phase.CLOSED:
            raise Unreachable("the client is not open: use it by `with`")
        return self._driver

    async def _until(self, what: Callable[[], bool]) -> None:
        while not what():
            self._progress.clear()
            await self._progress.wait()

    def _on_event(self, event: Event) -> None:
        self._progress.set()
        if isinstance(event, Settled):
            self._on_settled(event)
        elif isinstance(event, Arrived):
            if self.on_message is not None:
                self.on_message(event.message)
                return
            self._messages.append(event.message)
            self._arrived.set()
            if len(self._messages) == MESSAGES_MAX and self._driver is not None:
                self._driver.pause(True)
        else:
            if isinstance(event, Stopped):
                self._stopped = event.error
                self._arrived.set()
                if self.on_stopped is not None:
                    self.on_stopped(event.error)
            if self.on_event is not None:
                self.on_event(event)

    def _on_settled(self, event: Settled) -> None:
        pending: asyncio.Future[Any] = event.ticket
        if pending.done():
            return
        if event.error is None:
            pending.set_result(event.value)
            return
        pending.set_exception(event.error)
        # Whoever does not await it does not want to know.
        pending.exception()


def _addresses(texts: Iterable[str]) -> tuple[Address, ...]:
    if isinstance(texts, str):
        texts = texts.split(",")
    return tuple(Address.parse(text) for text in texts)


def _history(route: pb.Route, cluster: bytes) -> History:
    end = route.historyEnd
    more = route.HasField("historyEnd") and end.more and end.HasField("before")
    messages = tuple(message_of(one, cluster) for one in route.messagesResponse.messages)
    return History(messages, end.before if more else None)


def _conversations(route: pb.Route) -> list[Conversation]:
    return [conversation_of(entry) for entry in route.conversations.entries]


def _who(route: pb.Route) -> dict[str, bool]:
    return {entry.user: entry.online for entry in route.presence.entries}
