"""Carries out what a core wants, on an event loop of asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Callable

from ovid_chat.contract import Action, Connect, Disconnect, Discover, Event
from ovid_chat.core import Core, Phase
from ovid_chat.model import Address
from ovid_chat.tls import refusal, trouble

DISCOVERY_S_MAX = 1.0
"""So long an answer of discovery is waited for."""
CLOSE_S_MAX = 1.0
"""So long a client that ends waits for the connection to be closed in order."""


class Driver:
    """Carries out what the core wants on an event loop: one connection at a time."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        core: Core,
        tls: ssl.SSLContext | None,
        tls_name: str | None,
        on_event: Callable[[Event], None],
    ) -> None:
        self.loop = loop
        self._core = core
        self._tls = tls
        self._tls_name = tls_name
        self._on_event = on_event
        self._link: _Link | None = None
        self._closing: _Link | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._asking: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None
        self._soon = False
        self._paused = False

    def now(self) -> float:
        return self.loop.time()

    def carry_out_soon(self) -> None:
        """Once for all that is asked for in one turn of the loop."""
        if not self._soon:
            self._soon = True
            self.loop.call_soon(self.carry_out)

    def carry_out(self) -> None:
        """Does what the core wants."""
        self._soon = False
        core = self._core
        for action in core.take_actions():
            self._act(action)
        data = core.take_bytes()
        if data and self._link is not None:
            self._link.transport.write(data)
        for event in core.take_events():
            self._on_event(event)
        self._set_timer()

    def _act(self, action: Action) -> None:
        if isinstance(action, Connect):
            self._connecting = self.loop.create_task(self._connect(action.server))
        elif isinstance(action, Disconnect):
            self._disconnect()
        elif isinstance(action, Discover):
            for target in action.targets:
                task = self.loop.create_task(self._discover(target))
                self._asking.add(task)
                task.add_done_callback(self._asking.discard)

    def _disconnect(self) -> None:
        link, self._link = self._link, None
        if link is not None and self._core.phase is Phase.CLOSED:
            # What is left to be sent is sent before it is closed.
            link.transport.write(self._core.take_bytes())
            link.transport.close()
            self._closing = link
        elif link is not None:
            # The server may take nothing any more, nor say farewell.
            link.transport.abort()
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None

    async def _connect(self, server: Address) -> None:
        link = _Link(self)
        host_name = (self._tls_name or server.host) if self._tls is not None else None
        try:
            await self.loop.create_connection(
                lambda: link, server.host, server.port, ssl=self._tls, server_hostname=host_name
            )
        except OSError as error:
            self._connecting = None
            hopeless = refusal(server, error)
            if hopeless is not None:
                self._core.refused(self.now(), hopeless)
            else:
                self._core.closed(self.now(), trouble(error, self._tls is not None))
        else:
            self._connecting, self._link = None, link
            if self._paused:
                self._pause_link()
            self._core.connected(self.now())
        self.carry_out()

    async def _discover(self, target: Address) -> None:
        with contextlib.suppress(OSError):
            transport, _ = await self.loop.create_datagram_endpoint(
                lambda: _Asker(self), remote_addr=(target.host, target.port)
            )
            try:
                own = transport.get_extra_info("sockname")
                transport.sendto(self._core.discovery_datagram(Address(own[0], own[1])))
                await asyncio.sleep(DISCOVERY_S_MAX)
            finally:
                transport.close()

    def received(self, link: _Link, data: bytes) -> None:
        if link is self._link:
            self._core.received(self.now(), data)
            self.carry_out()

    def lost(self, link: _Link, why: str) -> None:
        if link is self._link:
            self._link = None
            self._core.closed(self.now(), why)
            self.carry_out()

    def datagram(self, data: bytes) -> None:
        self._core.datagram(self.now(), data)
        self.carry_out()

    def pause(self, paused: bool) -> None:
        """Stops to read from the server, or goes on."""
        if paused == self._paused:
            return
        self._paused = paused
        if self._link is not None:
            self._pause_link()
        self.carry_out_soon()

    def _pause_link(self) -> None:
        assert self._link is not None, "there is a connection"
        self._core.watch(self.now(), not self._paused)
        if self._paused:
            self._link.transport.pause_reading()
        else:
            self._link.transport.resume_reading()

    def _set_timer(self) -> None:
        at = self._core.deadline()
        if at == self._timer_at:
            return
        # A timer that comes too early is cheaper than a new one for each deadline that is put off.
        if self._timer is not None and at is not None and self._timer_at is not None and self._timer_at <= at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = None, at
        if at is not None:
            self._timer = self.loop.call_at(at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = self._timer_at = None
        self._core.timeout(self.now())
        self.carry_out()

    async def end(self) -> None:
        """Nothing is to happen any more; what was written has left, if the server takes it in time."""
        self._disconnect()
        if self._timer is not None:
            self._timer.cancel()
        for task in list(self._asking):
            task.cancel()
        if self._closing is not None:
            # Both sides of an encrypted connection say farewell.
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._closing.gone.wait(), CLOSE_S_MAX)
            self._closing.transport.abort()


class _Link(asyncio.Protocol):
    """One connection to a server."""

    transport: asyncio.Transport

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "a connection is a stream"
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._driver.received(self, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        self._driver.lost(self, str(exc) if exc else "the server closed the connection")


class _Asker(asyncio.DatagramProtocol):
    """Asks discovery, once."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._driver.datagram(data)
