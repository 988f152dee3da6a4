"""The started servers, and all waiting for them.

All waiting goes through `Grid.wait`, which serves every connection meanwhile, ends at the limit of the whole
run, and notices servers that die. So no server, however it misbehaves, can hold a run up or block on a pipe
that nobody reads.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

import report
from connection import Connection, Question
from labs import Lab
from process import Launcher, ServerProcess, run_stopall
from report import Report
from script import decode

ADDRESS = "127.0.0.1"
TURN_SECONDS_MAX = 0.25
CONNECT_SECONDS = 0.25
# How long the end of a connection waits for the end of the process that explains it.
DIAGNOSIS_SECONDS = 0.3
CRASH_SECONDS = 0.5
PORT_FREE_SECONDS = 1.0
PORT_POLL_SECONDS = 0.02
# No signal has this number.
WAKE = 255
WAKES_MAX = 4096


class Interrupted(Exception):
    """A signal asked the master to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class LimitReached(Exception):
    """The whole run took longer than it may."""


@dataclass
class Server:
    """A server that the script has started."""

    id: int
    port: int
    process: ServerProcess
    connection: Connection | None = None
    # Why it cannot be asked any more: the kind of the problem and the words for it.
    lost: tuple[str, str] | None = None
    # It has left a question unanswered and has answered none since.
    mute: bool = False


class Grid:
    """The servers of one run, by id."""

    def __init__(
        self, lab: Lab, launcher: Launcher, out: Report, framing: str, limit_seconds: float | None
    ) -> None:
        self.lab, self.launcher, self.out = lab, launcher, out
        self.servers: dict[int, Server] = {}
        self.interrupted_by: int | None = None
        self._framing = framing
        self._ends_at = None if limit_seconds is None else time.monotonic() + limit_seconds
        self._start_counts: dict[int, int] = {}
        self._ports_used: set[int] = set()
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wakes = b""
        for end in (self._wake_reader, self._wake_writer):
            end.setblocking(False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ, self._take_wake)

    # Waiting

    def wait(self, condition: Callable[[], bool], limit_seconds: float) -> bool:
        """Serves all connections until the condition holds or the time is over; whether it holds."""
        ends_at = time.monotonic() + max(0.0, limit_seconds)
        while not condition():
            left = ends_at - time.monotonic()
            if left <= 0:
                return False
            self.turn(min(left, TURN_SECONDS_MAX))
        return True

    def sleep(self, seconds: float) -> None:
        self.wait(lambda: False, seconds)

    def turn(self, limit_seconds: float) -> None:
        """Waits for the next event, at most so long, and handles all that are there."""
        if self.interrupted_by is None:
            if self._ends_at is not None:
                limit_seconds = min(limit_seconds, self._ends_at - time.monotonic())
                if limit_seconds < 0:
                    raise LimitReached
            for key, _ in self._selector.select(limit_seconds):
                key.data()
        if self.interrupted_by is not None:
            raise Interrupted(self.interrupted_by)

    def wait_readable(self, descriptor: int) -> None:
        """Serves all connections until there is something to read."""
        ready: list[bool] = []
        self._selector.register(descriptor, selectors.EVENT_READ, lambda: ready.append(True))
        try:
            while not ready:
                self.turn(TURN_SECONDS_MAX)
        finally:
            self._selector.unregister(descriptor)

    def wake(self) -> None:
        """Ends the current wait early; the one thing here that a signal handler or another thread may call."""
        with contextlib.suppress(OSError):  # Full: then a wake is on its way already.
            self._wake_writer.send(bytes([WAKE]))

    def wake_descriptor(self) -> int:
        """Where a signal may write its number, to end the wait."""
        return self._wake_writer.fileno()

    def take_wakes(self) -> bytes:
        """What has ended waits since this was last called: numbers of signals, and others that mean nothing."""
        self._take_wake()
        wakes, self._wakes = self._wakes, b""
        return wakes

    def _take_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wakes = (self._wakes + self._wake_reader.recv(WAKES_MAX))[-WAKES_MAX:]

    # Starting and ending

    def launch(self, server_id: int, port: int, words: list[str]) -> Server:
        """Starts the process of a server; OSError or ValueError when that cannot be done."""
        number = self._start_counts[server_id] = self._start_counts.get(server_id, 0) + 1
        self._ports_used.add(port)
        process = ServerProcess(self.launcher, server_id, number, words)
        server = self.servers[server_id] = Server(server_id, port, process)
        if process.error_pipe >= 0:
            self._selector.register(process.error_pipe, selectors.EVENT_READ, lambda: self._drain(process))
        return server

    def adopt(self, server: Server, sock: socket.socket) -> None:
        """Takes over the connection to a server."""
        server.connection = Connection(sock, self._framing)
        self._selector.register(sock, selectors.EVENT_READ, lambda: self._serve(server))

    def send(self, server: Server, line: bytes, question: Question | None = None) -> None:
        assert server.connection is not None
        if question is None:
            server.connection.send(line)
        else:
            server.connection.ask(line, question)
        self._watch(server.connection)

    def end(self, server: Server) -> None:
        """Kills the server's process group and waits until it has ended."""
        server.process.kill()
        self._disconnect(server)
        self._forget_errors(server.process)
        server.process.reap()

    def crash(self, server: Server) -> None:
        """Ends the server at once; one that has left its process group is asked to end itself."""
        connection = server.connection
        server.process.kill()
        if connection is not None and not connection.closed:
            self._selector.unregister(connection.sock)
            if not _wait_for_end(connection, DIAGNOSIS_SECONDS):
                self.out.note("it has left its process group, so it is sent the command `crash`", server.id)
                connection.send(self.lab.crash_line)
                if not _wait_for_end(connection, CRASH_SECONDS):
                    self.out.note("it still runs: nothing here can end it but stopall", server.id)
            connection.close()
        server.connection = None
        self.end(server)

    def finish(self) -> None:
        """Ends everything that was started, and says what could not be ended. May be called again."""
        for server in self.servers.values():
            server.process.kill()
        for server in self.servers.values():
            self.end(server)
        self.servers.clear()
        trouble = run_stopall(self.launcher) if self._ports_used else None
        if trouble:
            self.out.note(trouble)
        for port in sorted(self._ports_used):
            if not wait_for_free_port(port, PORT_FREE_SECONDS):
                self.out.note(
                    f"port {port} is still in use after stopall: a server has escaped its process group"
                )
        self._ports_used.clear()

    # Events

    def _serve(self, server: Server) -> None:
        connection = server.connection
        if connection is None or connection.closed:
            return  # ended earlier in the same turn
        connection.flush()
        connection.receive()
        for line in connection.rubbish:
            self.out.message(f"Invalid Response: {decode(line)}")
            self.out.problem(report.BAD_ANSWER, "this line answers nothing that it was asked", server.id)
        for question in connection.late:
            self.out.note(f"its answer to line {question.line} came too late", server.id)
        connection.rubbish.clear()
        connection.late.clear()
        if connection.closed:
            self._disconnect(server)
            self._diagnose(server)
        else:
            self._watch(connection)

    def _watch(self, connection: Connection) -> None:
        if connection.closed:
            return
        key = self._selector.get_key(connection.sock)
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.has_unsent() else 0)
        if key.events != events:
            self._selector.modify(connection.sock, events, key.data)

    def _diagnose(self, server: Server) -> None:
        """Finds out why a connection has ended, and tells it once."""
        ends_at = time.monotonic() + DIAGNOSIS_SECONDS
        while server.process.is_running() and time.monotonic() < ends_at:
            time.sleep(0.005)
        if server.process.is_running():
            server.lost = (report.CLOSED, "it has closed its connection")
        else:
            status = server.process.status()
            server.lost = (
                report.DIED,
                f"it has died ({status})" if server.process.failed() else "it has died",
            )
            if status == "exit status 0":
                server.lost = (report.DIED, "it has ended by itself")
        kind, words = server.lost
        self.out.problem(kind, words + server.process.last_errors(), server.id)

    def _drain(self, process: ServerProcess) -> None:
        if not process.drain_errors():
            self._forget_errors(process)

    def _forget_errors(self, process: ServerProcess) -> None:
        if process.error_pipe >= 0 and process.error_pipe in self._selector.get_map():
            self._selector.unregister(process.error_pipe)

    def _disconnect(self, server: Server) -> None:
        if server.connection is not None and server.connection.sock.fileno() >= 0:
            self._selector.unregister(server.connection.sock)
            server.connection.close()


def _wait_for_end(connection: Connection, limit_seconds: float) -> bool:
    """Whether the other end of the connection goes away in time; what still comes is of no interest."""
    ends_at = time.monotonic() + limit_seconds
    while not connection.closed and time.monotonic() < ends_at:
        connection.receive()
        if not connection.closed:
            time.sleep(0.002)
    return connection.closed


def wait_for_free_port(port: int, limit_seconds: float) -> bool:
    """Whether nothing listens on the port; it may be busy for a moment after its server was killed."""
    ends_at = time.monotonic() + limit_seconds
    while True:
        sock = connect(port)
        if sock is None:
            return True
        sock.close()
        if time.monotonic() >= ends_at:
            return False
        time.sleep(PORT_POLL_SECONDS)


def connect(port: int) -> socket.socket | None:
    """A connection to a server on this machine, or None when nothing listens there."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.settimeout(CONNECT_SECONDS)
    try:
        sock.connect((ADDRESS, port))
        # A dial to a free port can meet itself when the system has chosen just this port for its own end.
        if sock.getsockname() != sock.getpeername():
            return sock
    except OSError:
        pass
    sock.close()
    return None
