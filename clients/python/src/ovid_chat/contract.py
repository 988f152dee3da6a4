"""What a core and its host say to each other: what the client is to be, what the host does for it, what it is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Union

from ovid_chat.errors import ChatError
from ovid_chat.model import Address, Happening, Message


@dataclass(frozen=True)
class Settings:
    """Who the client is, and where it looks for servers."""

    user: str
    password: str = field(repr=False)
    servers: tuple[Address, ...] = ()
    discovery: tuple[Address, ...] = ()
    group_tag: str = ""
    secret: str = field(default="", repr=False)
    echo: bool = False


class Connect(NamedTuple):
    """Connect to a server; answered by `connected`, `closed` or `refused`."""

    server: Address


class Disconnect(NamedTuple):
    """Close the connection, or give up making one; not answered."""


class Discover(NamedTuple):
    """Send the datagram that `discovery_datagram` makes to these, and hand what comes back to `datagram`."""

    targets: tuple[Address, ...]


class Settled(NamedTuple):
    """What was asked under a ticket is done, or is not going to be."""

    ticket: Any
    value: Any
    error: ChatError | None


class Arrived(NamedTuple):
    """A message for the user, for the first time."""

    message: Message


Action = Union[Connect, Disconnect, Discover]
Event = Union[Settled, Arrived, Happening]
