"""A chat with several servers in this process, of threads on loopback, which misbehaves as a test wants it to."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Callable, Optional

from ovid_chat import chat_pb2 as pb
from ovid_chat.wire import Frames, FrameTooLong, frame

# What a hook may want of a Route that came in.
DROP = "drop"  # Close the connection, and do nothing.
DROP_AFTER = "drop after"  # Do it, and close the connection instead of answering.
SILENT = "silent"  # Neither do nor answer anything on this connection any more.
BUSY = "busy"  # Answer so, and do nothing.
UNKNOWN = "unknown"  # Answer so, and do nothing.
UNKNOWN_DONE = "unknown, done"  # Do it, and answer so.
FORGET = "forget"  # Forget the client instance first.

Hook = Callable[[int, pb.Route], Optional[str]]


class Session:
    """A user's connection."""

    def __init__(self, chat: FakeChat, server: int, connection: socket.socket) -> None:
        self.chat = chat
        self.server = server
        self.connection = connection
        self.user = ""
        self.client = b""
        self.silent = False

    def run(self) -> None:
        frames = Frames()
        with contextlib.suppress(OSError, FrameTooLong):
            while data := self.connection.recv(65536):
                for one in frames.cut(data):
                    if not self.silent:
                        self._take(pb.Route.FromString(one))
        self.end()

    def end(self) -> None:
        with self.chat.lock:
            if self in self.chat.sessions:
                self.chat.sessions.remove(self)
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()

    def send(self, route: pb.Route) -> None:
        with contextlib.suppress(OSError):
            self.connection.sendall(frame(route))

    def refuse(self, route: pb.Route, code: int, text: str = "no") -> None:
        answer = pb.Route(id=route.id, path=pb.Route.RESPONSE)
        answer.response.success, answer.response.errorCode, answer.response.message = False, code, text
        self.send(answer)

    def _take(self, route: pb.Route) -> None:
        is_ping = route.path == pb.Route.PING
        wanted = None if is_ping else self.chat.hook(self.server, route)
        with self.chat.lock:
            if not is_ping:
                self.chat.routes.append(route)
            if wanted == SILENT:
                self.silent = True
            elif wanted == DROP:
                self.end()
            elif wanted == BUSY:
                self.refuse(route, pb.BUSY)
            elif wanted == UNKNOWN:
                self.refuse(route, pb.UNKNOWN)
            else:
                if wanted == FORGET:
                    self.chat.expected.clear()
                answers = self.chat.do(self, route)
                if wanted == DROP_AFTER:
                    self.end()
                elif wanted == UNKNOWN_DONE:
                    self.refuse(route, pb.UNKNOWN)
                else:
                    for answer in answers:
                        self.send(answer)


class FakeChat:
    """Users, conversations and client instances, shared by all servers."""

    def __init__(self, servers: int = 1, tls: ssl.SSLContext | None = None) -> None:
        self.lock = threading.RLock()
        self.hook: Hook = lambda server, route: None
        self.routes: list[pb.Route] = []
        self.users: dict[str, str] = {}
        self.expected: dict[tuple[str, bytes], int] = {}
        self.refused: dict[tuple[str, bytes, int], int] = {}
        self.conversations: dict[frozenset[str], int] = {}
        self.posts: dict[int, list[pb.Message]] = {}
        self.marks: dict[tuple[str, int], int] = {}
        self.sessions: list[Session] = []
        self.tag = "here"
        self.identity = b""
        self.fetched: set[tuple[bytes, int, int]] = set()
        self.in_flight_max = 64
        self.tls = tls
        self.listeners: list[socket.socket] = []
        self.addresses: list[str] = []
        for _ in range(servers):
            listener = socket.create_server(("127.0.0.1", 0))
            self.listeners.append(listener)
            self.addresses.append(f"127.0.0.1:{listener.getsockname()[1]}")
            threading.Thread(target=self._accept, args=(len(self.listeners) - 1,), daemon=True).start()

    def close(self) -> None:
        for server in range(len(self.listeners)):
            self.kill(server)

    def kill(self, server: int) -> None:
        """Ends a server: nobody can connect to it any more, and its connections are closed."""
        listener = self.listeners[server]
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        self.drop(server)

    def drop(self, server: int) -> None:
        """Closes a server's connections."""
        with self.lock:
            for session in [one for one in self.sessions if one.server == server]:
                session.end()

    def _accept(self, server: int) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listeners[server].accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self.tls is not None:
                    try:
                        connection = self.tls.wrap_socket(connection, server_side=True)
                    except (OSError, ssl.SSLError):
                        continue
                session = Session(self, server, connection)
                with self.lock:
                    self.sessions.append(session)
                threading.Thread(target=session.run, daemon=True).start()

    # What servers do.

    def do(self, session: Session, route: pb.Route) -> list[pb.Route]:
        """Does what somebody wants: the answer to it, and what else they are told."""
        answer = pb.Route(id=route.id, path=pb.Route.RESPONSE)
        answer.response.success = True
        if route.HasField("user"):
            return [answer, *self._log_in(session, route, answer)]
        if route.HasField("message"):
            self._post(session, route, answer)
        elif route.HasField("messagesRequest"):
            self._history(session, route, answer)
        elif route.HasField("who"):
            for name in route.who.users or sorted(self.users):
                online = any(one.user == name for one in self.sessions)
                answer.presence.entries.add(user=name, online=online)
        elif route.HasField("conversationsRequest"):
            self._list(session, answer)
        elif route.acknowledged:
            mark = pb.Route(id=0, path=pb.Route.HEADER)
            for place in route.acknowledged:
                key = (session.user, place.conversation)
                self.marks[key] = max(self.marks.get(key, 0), place.sequence)
                place.sequence = self.marks[key]
                mark.readBy.add(user=session.user, position=place)
            return [mark]
        return [answer]

    def _log_in(self, session: Session, route: pb.Route, answer: pb.Route) -> list[pb.Route]:
        user, login = route.user, route.login
        known = self.users.get(user.uname)
        if user.action == pb.User.REGISTER:
            if known is not None:
                _refuse(answer, pb.NAME_TAKEN)
                return []
            self.users[user.uname] = user.password
        elif login.token:
            if login.token != b"token of " + user.uname.encode():
                _refuse(answer, pb.WRONG_PASSWORD)
                return []
        elif known is None or known != user.password:
            _refuse(answer, pb.WRONG_PASSWORD)
            return []
        session.user, session.client = user.uname, login.client
        welcome = answer.welcome
        welcome.token = b"token of " + user.uname.encode()
        own = self.addresses[session.server]
        welcome.servers.extend([own, *(one for one in self.addresses if one != own)])
        welcome.expected = self.expected.get((user.uname, login.client), 1)
        if self.identity:
            welcome.cluster = self.identity
        welcome.payloadBytesMax, welcome.inFlightMax, welcome.groupTag = 1000, self.in_flight_max, self.tag
        have = {place.conversation: place.sequence for place in login.have}
        if login.HasField("cluster") and login.cluster != self.identity:
            have.clear()
        return [
            _push(user.uname, message)
            for members, conversation in self.conversations.items()
            if user.uname in members
            for message in self.posts[conversation][
                have.get(conversation, self.marks.get((user.uname, conversation), 0)) :
            ]
            if message.senderId != user.uname or login.echo
        ]

    def _post(self, session: Session, route: pb.Route, answer: pb.Route) -> None:
        message, key = route.message, (session.user, session.client)
        if not session.user:
            _refuse(answer, pb.NOT_LOGGED_IN)
            return
        expected = self.expected.get(key, 1)
        if key not in self.expected and message.number > 1:
            _refuse(answer, pb.CLIENT_FORGOTTEN)
            return
        if message.number < expected:
            code = self.refused.get((*key, message.number))
            if code is not None:
                _refuse(answer, code)
            else:
                answer.posted.SetInParent()
            return
        if message.number > expected:
            _refuse(answer, pb.OUT_OF_ORDER)
            answer.posted.expected = expected
            return
        self.expected[key] = expected + 1
        if message.receiverId not in self.users:
            self.refused[(*key, message.number)] = pb.NOT_FOUND
            _refuse(answer, pb.NOT_FOUND)
            return
        place = self.say(session.user, message.receiverId, message.payload)
        answer.posted.position.CopyFrom(place)
        answer.posted.timeMs = 1_700_000_000_000

    def say(self, sender: str, to: str, text: str) -> pb.Position:
        """Puts a message into a conversation, and pushes it."""
        message = pb.Message(
            type=pb.Message.SINGLE,
            senderId=sender,
            payload=text,
            receiverId=to,
            timestamp="",
            action=pb.Message.POST,
        )
        return self._put(frozenset((sender, to)), message)

    def fetch(self, other: FakeChat, user: str) -> None:
        """Fetches from another cluster what others have written to a user there."""
        with other.lock:
            found = [
                one
                for members, conversation in other.conversations.items()
                if user in members
                for one in other.posts[conversation]
                if one.receiverId == user
            ]
        for one in found:
            place = (other.identity, one.position.conversation, one.position.sequence)
            if place not in self.fetched:
                self.fetched.add(place)
                message = pb.Message()
                message.CopyFrom(one)
                message.cluster, message.origin.cluster = other.tag, other.identity
                message.origin.position.CopyFrom(one.position)
                self._put(frozenset((f"{one.senderId}@{other.tag}", user)), message)

    def _put(self, members: frozenset[str], message: pb.Message) -> pb.Position:
        with self.lock:
            conversation = self.conversations.setdefault(members, len(self.conversations) + 1)
            posts = self.posts.setdefault(conversation, [])
            place = pb.Position(conversation=conversation, sequence=len(posts) + 1)
            message.position.CopyFrom(place)
            message.timeMs = 1_700_000_000_000 + len(posts)
            posts.append(message)
            for session in self.sessions:
                if session.user == message.receiverId:
                    session.send(_push(session.user, message))
            return place

    def _history(self, session: Session, route: pb.Route, answer: pb.Route) -> None:
        conversation = self.conversations.get(frozenset((session.user, route.messagesRequest.id)))
        if conversation is None:
            _refuse(answer, pb.NOT_FOUND)
            return
        before = route.history.before or len(self.posts[conversation]) + 1
        found = self.posts[conversation][: before - 1][-route.history.limit :]
        answer.Clear()
        answer.id, answer.path = route.id, pb.Route.MESSAGES_RESPONSE
        answer.messagesResponse.type = pb.MessagesRequest.USER
        answer.messagesResponse.messages.extend(found)
        answer.historyEnd.more = bool(found) and found[0].position.sequence > 1
        if answer.historyEnd.more:
            answer.historyEnd.before = found[0].position.sequence

    def _list(self, session: Session, answer: pb.Route) -> None:
        for members, conversation in self.conversations.items():
            if session.user in members:
                other = next(iter(members - {session.user}), session.user)
                last = len(self.posts[conversation])
                read = self.marks.get((session.user, conversation), 0)
                answer.conversations.entries.add(
                    conversation=conversation, name=other, type=pb.Message.SINGLE, last=last, read=read
                )

    def texts(self, *members: str) -> list[str]:
        """What was said between two users."""
        with self.lock:
            return [one.payload for one in self.posts.get(self.conversations.get(frozenset(members), 0), [])]


def _push(user: str, message: pb.Message) -> pb.Route:
    route = pb.Route(id=0, path=pb.Route.MESSAGES_RESPONSE)
    route.messagesResponse.type, route.messagesResponse.id = pb.MessagesRequest.USER, user
    route.messagesResponse.messages.append(message)
    return route


def _refuse(answer: pb.Route, code: int) -> None:
    answer.response.success, answer.response.errorCode = False, code
    answer.response.message = pb.ErrorCode.Name(code)


@contextlib.contextmanager
def fake_chat(servers: int = 1, tls: ssl.SSLContext | None = None) -> Iterator[FakeChat]:
    """A chat that ends with the block."""
    chat = FakeChat(servers, tls)
    try:
        yield chat
    finally:
        chat.close()


def wait_for(what: Callable[[], bool], seconds: float = 10.0) -> None:
    """Waits until something holds. Raises `TimeoutError`."""
    until = time.monotonic() + seconds
    while not what():
        if time.monotonic() > until:
            raise TimeoutError("it did not come about")
        time.sleep(0.005)
