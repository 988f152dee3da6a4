"""The client for programs without asyncio: every call waits."""

from __future__ import annotations

import asyncio
import concurrent.futures
import datetime
import queue
import random
import threading
from collections.abc import Coroutine, Iterable, Iterator
from typing import Any, Callable, TypeVar

from ovid_chat.aio import MESSAGES_MAX, POSTS_MAX, AsyncClient
from ovid_chat.errors import Busy, ChatError, Unknown, Unreachable
from ovid_chat.model import Address, Conversation, Happening, History, Message, Sent
from ovid_chat.tls import Tls

T = TypeVar("T")


class Client:
    """As `AsyncClient`, which it runs on a thread of its own. Its calls may come from any threads.

    `on_event` is called on that thread: it must not call the client and wait.
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
        self.user = user
        self.timeout = timeout
        self._client = AsyncClient(
            user,
            password,
            servers,
            discovery,
            group_tag=group_tag,
            secret=secret,
            tls=tls,
            tls_name=tls_name,
            echo=echo,
            timeout=timeout,
            on_event=on_event,
            rng=rng,
        )
        self._client.on_message = self._on_message
        self._client.on_stopped = self._on_stopped
        self._messages: queue.SimpleQueue[Message | ChatError | None] = queue.SimpleQueue()
        self._readers = 0
        self._paused = False
        # Messages that were posted and not answered yet: what `post` may add to.
        self._room = threading.BoundedSemaphore(POSTS_MAX)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Client:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ovid-chat", daemon=True)
        self._thread.start()
        self._wait(self._client.__aenter__())
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        try:
            self._wait(self._client.__aexit__(kind))
        finally:
            self._loop = None
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            # What was cancelled or closed ends in one more turn.
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()
            self._messages.put(None)

    @property
    def server(self) -> Address | None:
        """The server that the user is logged in on, if any."""
        return self._client.server

    @property
    def cluster(self) -> bytes:
        """The identity of the cluster that the user was logged in to last; empty if its servers have none."""
        return self._client.cluster

    @property
    def under_way(self) -> int:
        """How many messages wait to be accepted."""
        return self._client.under_way

    def register(self, email: str | None = None, exist_ok: bool = False) -> None:
        """Registers the user, and logs in. Raises `NameTaken`; with `exist_ok` only if the password is another one."""
        self._wait(self._client.register(email, exist_ok))

    def log_in(self) -> None:
        """Logs in. Every other call does so by itself. Raises `WrongPassword`."""
        self._wait(self._client.log_in())

    def unregister(self, password: str) -> None:
        """Removes the user for good."""
        self._wait(self._client.unregister(password))

    def post(self, to: str, text: str, *, group: bool = False) -> concurrent.futures.Future[Sent]:
        """Sends a message, without waiting. It is tried until a server has answered, on whatever server that is, and
        accepted at most once; messages keep their order. Raises `Busy` if too many wait."""
        if not self._room.acquire(blocking=False):
            raise Busy(f"{POSTS_MAX} messages wait to be accepted")
        pending: concurrent.futures.Future[Sent] = concurrent.futures.Future()
        pending.add_done_callback(lambda _: self._room.release())
        try:
            self._running().call_soon_threadsafe(self._post, pending, to, text, group)
        except BaseException:
            pending.cancel()
            raise
        return pending

    def send(self, to: str, text: str, *, group: bool = False, timeout: float | None = None) -> Sent:
        """Sends a message and waits until a server has accepted it. Raises `Unknown` if that takes too long: it goes on
        being tried, and `Unknown.pending` can be waited for."""
        pending = self.post(to, text, group=group)
        seconds = self.timeout if timeout is None else timeout
        try:
            return pending.result(seconds)
        except concurrent.futures.TimeoutError:
            text = f"no server has accepted the message within {seconds} s; it goes on being tried"
            raise Unknown(text, pending) from None

    def messages(self, timeout: float | None = None, acknowledge: bool = True) -> Iterator[Message]:
        """Messages for the user, those that were not read yet and then those that come, each one once. It ends when
        none has come for `timeout` seconds, and when the client is closed.

        A message counts as read when the next one is asked for; without `acknowledge`, when `acknowledge` is called.
        Raises `Untrusted`, or another `Unreachable`, when no server can be used any more."""
        self.log_in()
        self._readers += 1
        try:
            yield from self._read(timeout, acknowledge)
        finally:
            self._readers -= 1

    def _read(self, timeout: float | None, acknowledge: bool) -> Iterator[Message]:
        while True:
            try:
                message = self._messages.get(timeout=timeout)
            except queue.Empty:
                return
            if isinstance(message, ChatError):
                raise message
            if message is None:
                # For others that wait.
                self._messages.put(None)
                return
            if self._paused and self._messages.qsize() < MESSAGES_MAX // 2:
                self._running().call_soon_threadsafe(self._pause, False)
            yield message
            if acknowledge:
                self.acknowledge(message)

    def acknowledge(self, message: Message) -> None:
        """The user has read this message, and all before it in its conversation."""
        loop = self._loop
        if loop is not None:
            loop.call_soon_threadsafe(self._client.acknowledge, message)

    def history(
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
        asked = self._client.history(name, group=group, before=before, since=since, until=until, limit=limit)
        return self._wait(asked)

    def create_group(self, name: str) -> None:
        """Makes a group; the user belongs to it. Raises `NameTaken`."""
        self._wait(self._client.create_group(name))

    def delete_group(self, name: str) -> None:
        """Ends a group for all. Raises `Forbidden` for whoever has not made it."""
        self._wait(self._client.delete_group(name))

    def add_to_group(self, name: str, user: str) -> None:
        """Takes somebody into a group that the user belongs to."""
        self._wait(self._client.add_to_group(name, user))

    def remove_from_group(self, name: str, user: str) -> None:
        """Takes somebody out of a group."""
        self._wait(self._client.remove_from_group(name, user))

    def leave_group(self, name: str) -> None:
        """Leaves a group."""
        self._wait(self._client.leave_group(name))

    def conversations(self) -> list[Conversation]:
        """All whom the user writes with, and the user's groups."""
        return self._wait(self._client.conversations())

    def who(self, *users: str) -> dict[str, bool]:
        """Who is online: of these, or of all whom the user writes with."""
        return self._wait(self._client.who(*users))

    # On the thread of the loop.

    def _post(self, pending: concurrent.futures.Future[Sent], to: str, text: str, group: bool) -> None:
        if not pending.set_running_or_notify_cancel():
            return
        try:
            posted = self._client.post(to, text, group=group)
        except ChatError as error:
            pending.set_exception(error)
            return
        posted.add_done_callback(lambda done: _hand_over(done, pending))

    def _on_message(self, message: Message) -> None:
        self._messages.put(message)
        if self._messages.qsize() >= MESSAGES_MAX:
            self._pause(True)

    def _on_stopped(self, error: ChatError) -> None:
        # Who does not read now learns it by asking for something.
        for _ in range(self._readers):
            self._messages.put(type(error)(str(error)))

    def _pause(self, paused: bool) -> None:
        if paused and self._messages.qsize() < MESSAGES_MAX:
            return
        self._paused = paused
        self._client.pause(paused)

    # On the threads of the user.

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise Unreachable("the client is not open: use it by `with`")
        return self._loop

    def _wait(self, asked: Coroutine[Any, Any, T]) -> T:
        try:
            loop = self._running()
        except Unreachable:
            asked.close()
            raise
        return asyncio.run_coroutine_threadsafe(asked, loop).result()


def _hand_over(done: asyncio.Future[Sent], pending: concurrent.futures.Future[Sent]) -> None:
    error = done.exception()
    if error is None:
        pending.set_result(done.result())
    else:
        pending.set_exception(error)
