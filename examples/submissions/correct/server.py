"""One server of the chat room: `server.py <id> <n> <port>`.

One thread waits for all sockets at once. A link is a connection to another server: every server dials the smaller ids
and accepts the larger ones. Both ends send `ping <id>` at once and then regularly, so a peer is known by its first
line, a killed peer by the end of its connection, and a frozen peer by its silence.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable

LINK_BASE_PORT = 3000
TICK_SECONDS = 0.15  # between two pings, and between two attempts to dial a missing peer
SILENCE_SECONDS = 0.8  # a peer that is silent for longer is not alive; the lab allows one second
LINE_BYTES_MAX = 1 << 24
QUEUE_BYTES_MAX = 1 << 26
READ_BYTES = 1 << 18


class Connection:
    """A socket that never blocks, with what was read short of a line and what could not be sent yet."""

    def __init__(self, server: Server, sock: socket.socket, is_link: bool, dialled: int = -1) -> None:
        sock.setblocking(False)
        self.server, self.sock, self.is_link, self.dialled = server, sock, is_link, dialled
        self.unread, self.unsent = b"", bytearray()
        self.peer, self.heard_at = -1, 0.0
        server.selector.register(sock, selectors.EVENT_READ, (not is_link, self.ready))

    def send(self, data: bytes) -> None:
        self.unsent += data
        self.ready(selectors.EVENT_WRITE)

    def ready(self, events: int) -> None:
        try:
            if events & selectors.EVENT_READ and self.sock.fileno() >= 0:
                self.read()
            if self.unsent and self.sock.fileno() >= 0:
                del self.unsent[: self.sock.send(self.unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
        if len(self.unsent) > QUEUE_BYTES_MAX and self.is_link:
            self.close()
        if self.sock.fileno() >= 0:
            # A master that leaves its answers unread is not read either; a link always is, or two servers that wait
            # for each other would wait for ever.
            reads = selectors.EVENT_READ if self.is_link or len(self.unsent) < READ_BYTES else 0
            writes = selectors.EVENT_WRITE if self.unsent else 0
            self.server.selector.modify(self.sock, reads | writes, (not self.is_link, self.ready))

    def read(self) -> None:
        data = self.sock.recv(READ_BYTES)
        *lines, self.unread = (self.unread + data).split(b"\n")
        for line in lines:
            if self.sock.fileno() < 0:
                return
            (self.server.take_peer_line if self.is_link else self.server.take_command)(self, line)
        if not data or len(self.unread) > LINE_BYTES_MAX:
            self.close()

    def close(self) -> None:
        if self.sock.fileno() >= 0:
            self.server.selector.unregister(self.sock)
            self.sock.close()
            self.server.links.discard(self)


class Server:
    def __init__(self, own_id: int, count: int, port: int) -> None:
        self.own_id, self.count, self.ping = own_id, count, b"ping %d\n" % own_id
        self.log: list[bytes] = []
        self.links: set[Connection] = set()
        self.selector = selectors.DefaultSelector()
        for listen_port, is_link in ((LINK_BASE_PORT + own_id, True), (port, False)):
            listener = socket.create_server(("127.0.0.1", listen_port), backlog=1024)
            self.selector.register(listener, selectors.EVENT_READ, (False, self.acceptor(listener, is_link)))

    def acceptor(self, listener: socket.socket, is_link: bool) -> Callable[[int], None]:
        def accept(_events: int) -> None:
            with contextlib.suppress(OSError):  # the other end has left again, or there are too many
                self.adopt(Connection(self, listener.accept()[0], is_link))

        listener.setblocking(False)
        return accept

    def adopt(self, connection: Connection) -> None:
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if connection.is_link:
            self.links.add(connection)
            connection.send(self.ping)

    def tick(self) -> None:
        for link in [link for link in self.links if not link.unsent]:
            link.send(self.ping)
        for peer in set(range(self.own_id)) - {link.dialled for link in self.links}:
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", LINK_BASE_PORT + peer))  # a refusal shows in the first write
            self.adopt(Connection(self, sock, True, dialled=peer))

    def take_peer_line(self, link: Connection, line: bytes) -> None:
        kind, _, rest = line.partition(b" ")
        sender, _, text = rest.partition(b" ")
        peer = int(sender) if sender.isdigit() and len(sender) < 5 else -1
        if peer == self.own_id or not 0 <= peer < self.count or link.peer not in (-1, peer):
            return link.close()  # a stranger, or a peer that takes another's name
        link.peer, link.heard_at = peer, time.monotonic()
        if kind == b"msg":
            self.log.append(text)

    def take_command(self, master: Connection, line: bytes) -> None:
        verb, _, text = line.partition(b" ")
        if verb == b"broadcast" and text:
            self.log.append(text)
            for link in [link for link in self.links if link.peer >= 0]:
                link.send(b"msg %d %s\n" % (self.own_id, text))
        elif line.strip() == b"get":
            master.send(b"messages " + b",".join(self.log) + b"\n")
        elif line.strip() == b"alive":
            heard_after = time.monotonic() - SILENCE_SECONDS
            alive = {self.own_id} | {link.peer for link in self.links if link.heard_at > heard_after}
            master.send(b"alive " + b",".join(b"%d" % peer for peer in sorted(alive)) + b"\n")
        elif line.strip() == b"crash":
            os.kill(os.getpid(), signal.SIGKILL)

    def run(self) -> None:
        next_tick = 0.0
        while True:
            if time.monotonic() >= next_tick:
                self.tick()
                next_tick = time.monotonic() + TICK_SECONDS
            ready = self.selector.select(max(0.0, next_tick - time.monotonic()))
            # Masters last: an answer must know all that has already arrived from the other servers.
            for key, events in sorted(ready, key=lambda item: item[0].data[0]):
                key.data[1](events)


if __name__ == "__main__":
    if len(sys.argv) != 4 or not all(word.isdigit() for word in sys.argv[1:]):
        sys.exit("usage: server.py <id> <n> <port>")
    Server(*map(int, sys.argv[1:])).run()
