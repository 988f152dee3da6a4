"""How the user is registered and logged in, by password or by token, and who waits for it. Pure: no clock, no
sockets."""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass
from typing import Any

from ovid_chat import chat_pb2 as pb
from ovid_chat.contract import Settings, Settled
from ovid_chat.errors import ChatError, WrongPassword, error_of


class Refusal(enum.Enum):
    """How a client goes on that was not logged in."""

    AGAIN = enum.auto()
    """By another log-in, on the same connection."""
    ELSEWHERE = enum.auto()
    """On another server: this one cannot say."""
    FINAL = enum.auto()
    """Not at all: whoever waits for it is to be told."""


@dataclass(frozen=True)
class _Registration:
    ticket: Any
    email: str | None
    exist_ok: bool


@dataclass(frozen=True)
class _Existing:
    """The ticket of a registration that found its name taken, and looks whether by itself."""

    ticket: Any


class LogIn:
    """The user's log-in, on one connection after the other."""

    def __init__(self, settings: Settings, rng: random.Random) -> None:
        self._settings = settings
        self._rng = rng
        # The client instance.
        self._client = b""
        self._token = b""
        self._by_token = False
        self._registration: _Registration | None = None
        # Whether a registration may have been carried out although its answer was not heard.
        self._doubtful = False
        # Whether the log-in that was sent last is the registration.
        self._registering = False
        self._tickets: list[Any] = []
        self._id = 0
        self.renew()

    def renew(self) -> None:
        """Goes on as a new client instance."""
        self._client = self._rng.getrandbits(128).to_bytes(16, "big")

    def forget_token(self) -> None:
        """It is of no use where the client is now."""
        self._token = b""

    # Who waits.

    def want(self, ticket: object) -> None:
        """Somebody waits for the log-in."""
        self._tickets.append(ticket)

    def want_registration(self, ticket: object, email: str | None, exist_ok: bool) -> None:
        """Somebody waits for the user to be registered, and logged in."""
        self._registration, self._doubtful = _Registration(ticket, email, exist_ok), False

    def wants_registration(self) -> bool:
        """Whether the user is to be registered, or is just being."""
        return self._registration is not None

    def forget(self, ticket: object) -> None:
        """Somebody waits no more."""
        self._tickets = [other for other in self._tickets if other is not ticket]
        if self._registration is not None and self._registration.ticket is ticket:
            self._registration = None

    def give_up(self, error: ChatError) -> list[Settled]:
        """Nobody is going to be logged in."""
        tickets = list(self._tickets)
        if self._registration is not None:
            tickets.append(self._registration.ticket)
        self._tickets, self._registration = [], None
        return [
            Settled(ticket.ticket if isinstance(ticket, _Existing) else ticket, None, error)
            for ticket in tickets
        ]

    # What goes out.

    def is_under_way(self) -> bool:
        """Whether a log-in was sent on this connection and not answered yet."""
        return self._id != 0

    def is_answer(self, route_id: int) -> bool:
        """Whether this is the id of the log-in that is under way."""
        return route_id == self._id

    def route(self, route_id: int, have: list[pb.Position], cluster: bytes) -> pb.Route:
        """The log-in that is to be sent now: `have` is what has come in this cluster."""
        settings = self._settings
        self._id = route_id
        self._registering = self._registration is not None
        self._by_token = not self._registering and bool(self._token)
        user = pb.User(uname=settings.user, action=pb.User.ACCESS)
        if not self._by_token:
            user.password = settings.password
        if self._registration is not None:
            user.action = pb.User.REGISTER
            if self._registration.email is not None:
                user.email = self._registration.email
        login = pb.Login(client=self._client, echo=settings.echo, have=have)
        if self._by_token:
            login.token = self._token
        if cluster:
            login.cluster = cluster
        route = pb.Route(id=route_id, path=pb.Route.USER, user=user, login=login)
        route.header.type = pb.Header.CLIENT
        return route

    def disconnected(self) -> None:
        """The connection broke."""
        self._id = 0
        if self._registering:
            self._registering, self._doubtful = False, True

    # What comes of it.

    def accepted(self, welcome: pb.Welcome) -> list[Settled]:
        """A server has logged the user in."""
        self._id = 0
        if welcome.HasField("token"):
            self._token = welcome.token
        settled = []
        if self._registration is not None and not self._registering:
            # It was asked for while a log-in was under way.
            self._registering = self._registration.exist_ok
            if not self._registering:
                taken = error_of(pb.NAME_TAKEN, "the user is logged in")
                settled.append(Settled(self._registration.ticket, None, taken))
                self._registration = None
        return settled + self._settle(None)

    def refused(self, code: int) -> Refusal:
        """A server has not."""
        self._id = 0
        if code == pb.WRONG_PASSWORD and self._by_token:
            # It has expired, or the key has changed.
            self._token = b""
            return Refusal.AGAIN
        if code in (pb.BUSY, pb.UNKNOWN):
            self._doubtful |= self._registering and code == pb.UNKNOWN
            self._registering = False
            return Refusal.ELSEWHERE
        registration = self._registration
        if code == pb.NAME_TAKEN and registration is not None and (registration.exist_ok or self._doubtful):
            # By this client itself, perhaps, when it did not hear the answer: then the password is right.
            self._registration = None
            self._tickets.append(_Existing(registration.ticket))
            return Refusal.AGAIN
        return Refusal.FINAL

    def failed(self, error: ChatError) -> list[Settled]:
        """That was final."""
        return self._settle(error)

    def _settle(self, error: ChatError | None) -> list[Settled]:
        tickets, self._tickets = self._tickets, []
        if self._registration is not None and self._registering:
            tickets.append(self._registration.ticket)
            self._registration = None
        self._registering = False
        settled = []
        for ticket in tickets:
            if isinstance(ticket, _Existing):
                taken = error_of(pb.NAME_TAKEN, "the name is taken, by somebody with another password")
                wrong = taken if isinstance(error, WrongPassword) else error
                settled.append(Settled(ticket.ticket, None, wrong))
            else:
                settled.append(Settled(ticket, None, error))
        return settled
