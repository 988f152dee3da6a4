"""The client without its sockets: what goes out and what it means, as a state machine that is given the time.

The host (`AsyncClient`, or a test) hands in what happens (`connected`, `received`, `closed`, `timeout`, ...) and, after
each of these, carries out what came of it: `take_actions` (in their order), `take_bytes` and `take_events`. At
`deadline` it calls `timeout`; an early or repeated one is harmless.
"""

from __future__ import annotations

import enum
import random
from typing import Any, Callable

from google.protobuf.message import DecodeError

from ovid_chat import chat_pb2 as pb
from ovid_chat.contract import (
    Action,
    Arrived,
    Connect,
    Disconnect,
    Discover,
    Event,
    Settings,
    Settled,
)
from ovid_chat.errors import ChatError, Unreachable, error_of
from ovid_chat.inbox import Inbox
from ovid_chat.login import LogIn, Refusal
from ovid_chat.model import (
    Address,
    Down,
    Online,
    Position,
    Read,
    Stopped,
    Up,
    message_of,
    origin_of,
    position_of,
)
from ovid_chat.outbox import Outbox, Verdict
from ovid_chat.pulse import Pulse
from ovid_chat.requests import Requests
from ovid_chat.servers import Servers, addresses_of, discovery_answer, discovery_request
from ovid_chat.wire import Encrypted, Frames, FrameTooLong, frame

CONNECT_S_MAX = 1.0
DISCOVER_EVERY_S = 0.3
ACKNOWLEDGE_AFTER_S = 0.01
"""Acknowledgements are gathered for so long."""
IN_FLIGHT_MAX = 512


class Phase(enum.Enum):
    """How far the client is."""

    IDLE = enum.auto()
    """Nobody has asked for anything yet."""
    WAITING = enum.auto()
    """Until servers are tried again, or until discovery answers."""
    CONNECTING = enum.auto()
    LOGGING_IN = enum.auto()
    READY = enum.auto()
    CLOSED = enum.auto()


class Core:
    """See the module. All times are in seconds, on any clock that never goes back."""

    def __init__(self, settings: Settings, rng: random.Random) -> None:
        self.phase = Phase.IDLE
        self.server: Address | None = None
        self.payload_bytes_max: int | None = None
        self.trouble = ""
        """Why the client is on no server, as far as that is known."""
        self._settings = settings
        self._servers = Servers(settings.servers, rng)
        self._outbox = Outbox(rng)
        self._requests = Requests()
        self._next_id = 1
        self._frames = Frames()
        self._in_flight_max = IN_FLIGHT_MAX
        self._login = LogIn(settings, rng)
        self._group_tag: str | None = None
        # What has come, and what of it was read.
        self._inbox = Inbox()
        # When to do something.
        self._acknowledge_at: float | None = None
        self._act_at: float | None = None
        self._pulse = Pulse()
        # What comes of the inputs.
        self._actions: list[Action] = []
        self._bytes = bytearray()
        self._events: list[Event] = []

    @property
    def cluster(self) -> bytes:
        """The identity of the cluster that the client is in; empty if no server has told it."""
        return self._inbox.cluster

    # What the user asks for.

    def log_in(self, now: float, ticket: object) -> None:
        """Logs in, if nobody has yet: the value is None."""
        if self.phase is Phase.READY:
            self._events.append(Settled(ticket, None, None))
            return
        self._login.want(ticket)
        self._begin(now)

    def register(self, now: float, ticket: object, email: str | None, exist_ok: bool) -> None:
        """Registers the user and logs in: the value is None. With `exist_ok` a name that is taken is no error if the
        password is right."""
        if self.phase is Phase.READY:
            self._events.append(Settled(ticket, None, error_of(pb.NAME_TAKEN, "the user is logged in")))
            return
        self._login.want_registration(ticket, email, exist_ok)
        self._begin(now)

    def post(self, now: float, ticket: object, to: str, text: str, group: bool) -> None:
        """Sends a message: the value is `Sent`."""
        message = pb.Message(
            type=pb.Message.GROUP if group else pb.Message.SINGLE,
            senderId=self._settings.user,
            payload=text,
            receiverId=to,
            timestamp="",
            action=pb.Message.POST,
        )
        limit = self.payload_bytes_max
        if limit is not None and len(text) * 4 > limit and len(text.encode()) > limit:
            error = error_of(
                pb.TOO_LONG, f"a message has at most {limit} bytes, this one {len(text.encode())}"
            )
            self._events.append(Settled(ticket, None, error))
            return
        self._outbox.put(ticket, message)
        self._begin(now)
        self._send_posts(now)

    def request(
        self,
        now: float,
        ticket: object,
        route: pb.Route,
        value: Callable[[pb.Route], Any] = lambda _: None,
        reads: bool = True,
    ) -> None:
        """Asks a server: the value is what `value` makes of the answer. What `reads` is asked again on another server
        if the connection breaks."""
        route.id = self._number()
        self._requests.put(ticket, route, value, reads)
        self._begin(now)
        self._send_requests()

    def forget(self, ticket: object) -> None:
        """Nobody waits for the answer to a request, to the log-in or to the registration any more."""
        self._requests.forget(ticket)
        self._login.forget(ticket)

    def acknowledge(self, now: float, position: Position) -> None:
        """The user has this message, and all before it in its conversation."""
        self._inbox.acknowledge(position)
        self._gather(now)

    def under_way(self) -> int:
        """How many messages have not been answered for good yet."""
        return len(self._outbox)

    def is_acknowledging(self) -> bool:
        """Whether a server has yet to say that what the user has read is stored."""
        return self.phase is Phase.READY and not self._inbox.is_confirmed()

    def close(self) -> None:
        """Ends it all; what is not done is not going to be."""
        if self.phase is Phase.CLOSED:
            return
        self._send_acknowledgements()
        self._fail_all(Unreachable("the client was closed"))
        if self.phase not in (Phase.IDLE, Phase.WAITING):
            self._actions.append(Disconnect())
        self.phase = Phase.CLOSED

    # What happens.

    def connected(self, now: float) -> None:
        """The connection that was asked for stands."""
        if self.phase is not Phase.CONNECTING:
            return
        self.phase, self._act_at = Phase.LOGGING_IN, None
        self._frames = Frames()
        self._pulse.watch(now, True)
        self._send_log_in()

    def received(self, now: float, data: bytes) -> None:
        """Bytes came in."""
        if self.phase not in (Phase.LOGGING_IN, Phase.READY):
            return
        self._pulse.heard(now)
        try:
            for one in self._frames.cut(data):
                self._take(now, pb.Route.FromString(one))
                if self.phase not in (Phase.LOGGING_IN, Phase.READY):
                    return
        except Encrypted as error:
            self._actions.append(Disconnect())
            self._refuse(now, Unreachable(f"{self.server}: {error}"))
            return
        except FrameTooLong as error:
            self._lose(now, str(error))
        except DecodeError:
            self._lose(now, "the server sent what is no Route")
        self._send_posts(now)

    def closed(self, now: float, why: str) -> None:
        """The connection was closed, or could not be made."""
        if self.phase in (Phase.CONNECTING, Phase.LOGGING_IN, Phase.READY):
            self._drop(now, why)

    def refused(self, now: float, error: ChatError) -> None:
        """The connection could not be made, and another try would not help."""
        if self.phase is Phase.CONNECTING:
            self._refuse(now, error)

    def datagram(self, now: float, data: bytes) -> None:
        """A datagram came in."""
        server = discovery_answer(data, self._settings.group_tag)
        if server is None:
            return
        self._servers.discovered(server)
        if self.phase is Phase.WAITING:
            self._connect_next(now)

    def watch(self, now: float, watched: bool) -> None:
        """Whether the host reads now; while it does not, a silent server is not taken for dead."""
        self._pulse.watch(now, watched)

    def deadline(self) -> float | None:
        """When `timeout` is to be called next, if ever."""
        times = [self._act_at]
        if self.phase in (Phase.LOGGING_IN, Phase.READY):
            times.append(self._pulse.deadline())
        if self.phase is Phase.READY:
            times += [self._acknowledge_at, self._outbox.deadline(self._in_flight_max)]
        return min((time for time in times if time is not None), default=None)

    def timeout(self, now: float) -> None:
        """Time has passed."""
        if self._act_at is not None and now >= self._act_at:
            self._act_at = None
            if self.phase is Phase.CONNECTING:
                self._lose(now, "no connection came about in time")
            elif self.phase is Phase.WAITING:
                self._connect_next(now)
        if self.phase in (Phase.LOGGING_IN, Phase.READY):
            if self._pulse.is_dead(now):
                self._lose(now, "the server is silent")
            elif self._pulse.wants_ping(now):
                self._send(pb.Route(id=self._number(), path=pb.Route.PING))
        if self.phase is Phase.READY:
            if self._acknowledge_at is not None and now >= self._acknowledge_at:
                self._send_acknowledgements()
            self._send_posts(now)

    # What comes of it.

    def take_actions(self) -> list[Action]:
        """What the host is to do, in its order, before it sends bytes."""
        actions, self._actions = self._actions, []
        return actions

    def take_bytes(self) -> bytes:
        """What is to be sent on the connection."""
        data, self._bytes = bytes(self._bytes), bytearray()
        return data

    def take_events(self) -> list[Event]:
        """What the user is to know."""
        if self._outbox.settled:
            settled, self._outbox.settled = self._outbox.settled, []
            self._events += [Settled(*one) for one in settled]
        events, self._events = self._events, []
        return events

    def discovery_datagram(self, own: Address) -> bytes:
        """The datagram of a `Discover`; `own` is where the answer is to come."""
        return discovery_request(self._number(), self._settings.group_tag, self._settings.secret, own)

    # Connections.

    def _begin(self, now: float) -> None:
        if self.phase is Phase.IDLE:
            self._connect_next(now)
        elif self.phase is Phase.LOGGING_IN and not self._login.is_under_way():
            # The last try was refused.
            self._send_log_in()

    def _connect_next(self, now: float) -> None:
        server = self._servers.next()
        if server is not None:
            self.phase, self.server = Phase.CONNECTING, server
            self._act_at = now + CONNECT_S_MAX
            self._actions.append(Connect(server))
            return
        self.phase, self.server = Phase.WAITING, None
        pause_s = self._servers.pause_s()
        if self._settings.discovery:
            self._actions.append(Discover(self._settings.discovery))
            pause_s = max(pause_s, DISCOVER_EVERY_S)
        self._act_at = now + pause_s

    def _lose(self, now: float, why: str) -> None:
        """Gives up the connection, and goes to another server."""
        self._actions.append(Disconnect())
        self._drop(now, why)

    def _refuse(self, now: float, error: ChatError) -> None:
        """Goes to another server; when all of them are like that, the client stops."""
        if self.server is not None:
            self._servers.refused(self.server)
        if not self._servers.are_all_refused():
            self._drop(now, str(error))
            return
        self._servers.begin_anew()
        self._bytes.clear()
        self._inbox.disconnected()
        self._login.disconnected()
        self.phase, self.server, self._act_at = Phase.IDLE, None, None
        self._fail_all(error)
        self._events.append(Stopped(error))

    def _drop(self, now: float, why: str) -> None:
        server = self.server
        self.trouble = f"{server}: {why}"
        if self.phase is Phase.READY and server is not None:
            self._events.append(Down(server, why))
        self._bytes.clear()
        self._outbox.disconnected()
        self._login.disconnected()
        self._events += self._requests.disconnected(why)
        self._inbox.disconnected()
        self._connect_next(now)

    # The log-in.

    def _send_log_in(self) -> None:
        self._send(self._login.route(self._number(), self._inbox.have(), self.cluster))

    def _logged_in(self, now: float, route: pb.Route) -> None:
        if not route.response.success:
            self._not_logged_in(now, route.response)
            return
        welcome = route.welcome
        self._events += self._login.accepted(welcome)
        self._in_flight_max = min(IN_FLIGHT_MAX, max(1, welcome.inFlightMax or IN_FLIGHT_MAX))
        self.payload_bytes_max = welcome.payloadBytesMax or None
        self.trouble = ""
        server = self.server
        assert server is not None, "there is a connection"
        self._servers.succeeded(server, addresses_of(welcome.servers))
        if self._has_moved(welcome):
            # Another cluster, or one that was begun anew: other conversations, and nothing is known of this instance.
            self._login.forget_token()
            self._renew(now, forgotten=True)
            return
        if welcome.HasField("expected") and welcome.expected < self._outbox.first():
            self._renew(now, forgotten=welcome.expected == 1)
            return
        self.phase = Phase.READY
        self._events.append(Up(server))
        self._send_acknowledgements()
        self._send_requests()

    def _has_moved(self, welcome: pb.Welcome) -> bool:
        """Whether a server is of another cluster than the last one was; the client is in that one now."""
        known_tag, known = self._group_tag, self.cluster
        if welcome.HasField("groupTag"):
            self._group_tag = welcome.groupTag
        if known and welcome.cluster:
            is_another = welcome.cluster != known
        else:
            is_another = known_tag is not None and self._group_tag != known_tag
        if is_another:
            self._inbox.enter(welcome.cluster)
        elif welcome.cluster and not known:
            self._inbox.name(welcome.cluster)
        return is_another

    def _not_logged_in(self, now: float, response: pb.Response) -> None:
        refusal = self._login.refused(response.errorCode)
        if refusal is Refusal.AGAIN:
            self._send_log_in()
        elif refusal is Refusal.ELSEWHERE:
            self._lose(now, response.message)
        else:
            error = error_of(response.errorCode, response.message)
            self._events += self._login.failed(error)
            # The connection stays, for another try; what needs a user has none.
            self._fail_requests(error)
            if self._login.wants_registration():
                self._send_log_in()

    def _renew(self, now: float, forgotten: bool) -> None:
        """Goes on as a new client instance."""
        self._outbox.renew(forgotten)
        self._login.renew()
        if self.server is not None:
            self._servers.discovered(self.server)
        # Nobody needs to know of that: the server lives.
        self.phase = Phase.LOGGING_IN
        self._lose(now, "the client numbers its messages anew")

    # What goes out.

    def _number(self) -> int:
        number = self._next_id
        self._next_id += 1
        return number

    def _send(self, route: pb.Route) -> None:
        self._bytes += frame(route)

    def _send_posts(self, now: float) -> None:
        if self.phase is not Phase.READY:
            return
        for post in self._outbox.take(now, self._in_flight_max):
            number = self._number()
            self._send(pb.Route(id=number, path=pb.Route.MESSAGE, message=post.message))
            self._outbox.note_sent(post, number)

    def _send_requests(self) -> None:
        if self.phase is not Phase.READY:
            return
        for route in self._requests.take():
            self._send(route)

    def _gather(self, now: float) -> None:
        if self._acknowledge_at is None and self._inbox.has_to_tell():
            self._acknowledge_at = now + ACKNOWLEDGE_AFTER_S

    def _send_acknowledgements(self) -> None:
        self._acknowledge_at = None
        if self.phase is not Phase.READY:
            return
        places = self._inbox.take_acknowledgements()
        if places:
            route = pb.Route(id=self._number(), path=pb.Route.HEADER, acknowledged=places)
            self._send(route)

    # What comes in.

    def _take(self, now: float, route: pb.Route) -> None:
        if route.id != 0:
            self._take_answer(now, route)
        elif route.HasField("messagesResponse"):
            self._take_pushes(now, route)
        for entry in route.presence.entries:
            self._events.append(Online(entry.user, entry.online))
        for mark in route.readBy:
            place = position_of(mark.position, self.cluster)
            if mark.user == self._settings.user:
                self._inbox.confirm(place)
            self._events.append(Read(mark.user, place))

    def _take_answer(self, now: float, route: pb.Route) -> None:
        if self._login.is_answer(route.id):
            self._logged_in(now, route)
        elif self._outbox.has(route.id):
            verdict = self._outbox.answered(now, route, self.cluster)
            if self._settings.echo and route.posted.HasField("position"):
                self._inbox.note_own(position_of(route.posted.position, self.cluster))
            if verdict is Verdict.LOG_IN:
                self._lose(now, "the server does not know that the user has logged in")
            elif verdict is not Verdict.ON:
                self._renew(now, forgotten=verdict is Verdict.FORGOTTEN)
        elif self._requests.has(route.id):
            self._events.append(self._requests.answered(route))

    def _take_pushes(self, now: float, route: pb.Route) -> None:
        for one in route.messagesResponse.messages:
            message = message_of(one, self.cluster)
            if message.position is None or self._inbox.is_new(message.position, origin_of(one)):
                self._events.append(Arrived(message))
        # What has come before may have been read before.
        self._gather(now)

    # The end.

    def _fail_requests(self, error: ChatError) -> None:
        self._events += self._requests.give_up(error)
        self._outbox.give_up(error)

    def _fail_all(self, error: ChatError) -> None:
        self._fail_requests(error)
        self._events += self._login.give_up(error)
