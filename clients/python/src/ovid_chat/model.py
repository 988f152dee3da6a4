"""What the chat is made of, as its user sees it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import NamedTuple, Union

from ovid_chat import chat_pb2 as pb
from ovid_chat.errors import ChatError


class Position(NamedTuple):
    """A place in a conversation: the conversation's number, and the message's in it, counted from 1.

    Each cluster counts its conversations by itself: `cluster` is the identity of the one that it is in. Empty, it is
    the cluster that the client is in."""

    conversation: int
    sequence: int
    cluster: bytes = b""

    def reaches(self, other: Position) -> bool:
        """Whether it is a place of the same conversation, that one or one behind it."""
        same = (self.conversation, self.cluster) == (other.conversation, other.cluster)
        return same and self.sequence >= other.sequence


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Of `host:port` or `[IPv6 address]:port`. Raises `ValueError`."""
        host, colon, port = text.strip().rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f"{text!r} is no address: write host:port")
        return cls(host, int(port))


@dataclass(frozen=True)
class Message:
    """A message that somebody sent."""

    sender: str
    text: str
    to: str
    """The user's name, or the group's."""
    is_group: bool = False
    position: Position | None = None
    """Where it stands; none if the server does not say."""
    time: datetime.datetime | None = None
    """When it was accepted (UTC)."""
    cluster: str | None = None
    """The tag of the cluster that it was sent in, if that is another one."""


@dataclass(frozen=True)
class Sent:
    """A message of ours was accepted: nothing short of the loss of a majority of servers loses it."""

    position: Position | None
    """Where it stands; none if that is not known any more."""
    time: datetime.datetime | None
    """When it was accepted (UTC)."""


@dataclass(frozen=True)
class Conversation:
    """Somebody whom the user writes with, or a group that the user belongs to."""

    id: int
    name: str
    is_group: bool
    members: tuple[str, ...]
    """Of a group: who belongs to it; the first one has made it."""
    last: int
    """The sequence of the last message; 0: there is none."""
    read: int
    """The sequence of the last message that the user has read."""
    cluster: str | None = None

    @property
    def unread(self) -> int:
        """How many messages are not read yet, those that were removed among them."""
        return max(0, self.last - self.read)


@dataclass(frozen=True)
class History:
    """A part of a conversation's past, oldest first."""

    messages: tuple[Message, ...]
    before: int | None
    """Where older ones are to be asked for; none if there are none."""


# What happens without being asked for.


@dataclass(frozen=True)
class Up:
    """A server has logged the user in."""

    server: Address


@dataclass(frozen=True)
class Down:
    """The connection to a server was lost; another one is sought."""

    server: Address
    why: str


@dataclass(frozen=True)
class Stopped:
    """No server can be used, and to try again would not help. The client does so when it is asked for something."""

    error: ChatError


@dataclass(frozen=True)
class Online:
    """Somebody came or went."""

    user: str
    online: bool


@dataclass(frozen=True)
class Read:
    """Somebody has read a conversation up to here."""

    user: str
    position: Position


Happening = Union[Up, Down, Stopped, Online, Read]
"""What a client tells without being asked."""


def position_of(place: pb.Position, cluster: bytes) -> Position:
    """Of what came by wire, from a server of this cluster."""
    return Position(place.conversation, place.sequence, cluster)


def message_of(message: pb.Message, cluster: bytes) -> Message:
    """Of what came by wire, from a server of this cluster."""
    has = message.HasField
    return Message(
        sender=message.senderId,
        text=message.payload,
        to=message.receiverId,
        is_group=message.type == pb.Message.GROUP,
        position=position_of(message.position, cluster) if has("position") else None,
        time=time_of(message.timeMs) if has("timeMs") else None,
        cluster=message.cluster if has("cluster") else None,
    )


def origin_of(message: pb.Message) -> Position | None:
    """Where a message stands in the cluster that it was sent in, if that is another one and known."""
    origin = message.origin
    return position_of(origin.position, origin.cluster) if origin.cluster else None


def conversation_of(entry: pb.Conversations.Entry) -> Conversation:
    """Of what came by wire."""
    return Conversation(
        id=entry.conversation,
        name=entry.name,
        is_group=entry.type == pb.Message.GROUP,
        members=tuple(entry.members),
        last=entry.last,
        read=entry.read,
        cluster=entry.cluster if entry.HasField("cluster") else None,
    )


def time_of(time_ms: int) -> datetime.datetime:
    """Of milliseconds since 1970 (UTC)."""
    return _EPOCH + datetime.timedelta(milliseconds=time_ms)


def ms_of(time: datetime.datetime) -> int:
    """Milliseconds since 1970 (UTC). A time without a zone is one of this machine's zone."""
    return (time.astimezone(datetime.timezone.utc) - _EPOCH) // datetime.timedelta(milliseconds=1)


_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
