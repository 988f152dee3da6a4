"""What has come and what of it was read: places in conversations. Pure: no clock, no sockets."""

from __future__ import annotations

from ovid_chat import chat_pb2 as pb
from ovid_chat.model import Position

OWN_MAX = 4096
"""Of so many messages of its own in a conversation a client knows that it has sent them itself."""


class Inbox:
    """Knows each message that has come, by its place: a conversation's messages come in their order."""

    def __init__(self) -> None:
        self._have: dict[int, int] = {}
        self._own: dict[int, set[int]] = {}
        self._acknowledged: dict[int, int] = {}
        self._to_acknowledge: set[int] = set()
        self._confirmed: dict[int, int] = {}

    def is_new(self, position: Position) -> bool:
        """Whether a message comes for the first time, and is not one that this client has sent; it has come now."""
        conversation, sequence = position
        if sequence <= self._have.get(conversation, 0):
            return False
        self._have[conversation] = sequence
        own = self._own.get(conversation)
        if not own:
            return True
        is_own = sequence in own
        own.difference_update([other for other in own if other <= sequence])
        return not is_own

    def note_own(self, position: Position) -> None:
        """This client has sent a message. After a reconnect the server takes it for another session's."""
        own = self._own.setdefault(position.conversation, set())
        own.add(position.sequence)
        if len(own) > OWN_MAX:
            own.remove(min(own))

    def have(self) -> list[pb.Position]:
        """The last place that has come of each conversation."""
        return [pb.Position(conversation=one, sequence=sequence) for one, sequence in self._have.items()]

    def acknowledge(self, position: Position) -> bool:
        """The user has read up to here. Whether that is news."""
        conversation, sequence = position
        if sequence <= self._acknowledged.get(conversation, 0):
            return False
        self._acknowledged[conversation] = sequence
        self._to_acknowledge.add(conversation)
        return True

    def take_acknowledgements(self) -> list[pb.Position]:
        """What is to be told a server."""
        conversations = sorted(self._to_acknowledge)
        self._to_acknowledge.clear()
        return [pb.Position(conversation=one, sequence=self._acknowledged[one]) for one in conversations]

    def confirm(self, position: Position) -> None:
        """A server says that the user has read up to here."""
        self._confirmed[position.conversation] = position.sequence

    def is_confirmed(self) -> bool:
        """Whether all that the user has read is known to be stored."""
        confirmed = self._confirmed
        return all(sequence <= confirmed.get(one, 0) for one, sequence in self._acknowledged.items())

    def disconnected(self) -> None:
        """What was told may not have been carried out: all of it is told again."""
        self._to_acknowledge.update(self._acknowledged)

    def clear(self) -> None:
        """Another cluster has other conversations."""
        for places in (self._have, self._own, self._acknowledged, self._to_acknowledge, self._confirmed):
            places.clear()
