"""What has come and what of it was read: places in conversations, in each cluster that the user has been in. Pure: no
clock, no sockets.

A message stands in one place of the cluster that it was sent in, and in another one of each cluster whose servers have
fetched it from there. Places of a conversation come, and are read, in their order, and what is fetched is fetched in
its order: so the last sequence says it of all before it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from ovid_chat import chat_pb2 as pb
from ovid_chat.model import Position

OWN_MAX = 4096
"""Of so many messages of its own in a conversation a client knows that it has sent them itself."""
FETCHED_MAX = 4096
"""Of so many fetched messages in a conversation that are not read yet it is known where they were fetched from."""
CLUSTERS_MAX = 64
"""So many clusters are known, the present one among them."""


class _Fetched(NamedTuple):
    """A message that stands in one place, and was fetched from another one."""

    sequence: int
    origin: _Conversation
    origin_sequence: int


class _Conversation:
    """What is known of a conversation of a cluster."""

    __slots__ = ("cluster", "confirmed", "copies", "fetched", "had", "number", "own", "read")

    def __init__(self, cluster: _Cluster, number: int) -> None:
        self.cluster = cluster
        self.number = number
        # The last that has come, here or where it was fetched to.
        self.had = 0
        self.own: set[int] = set()
        # The last that the user has read, and the last that a server has stored as read.
        self.read = 0
        self.confirmed = 0
        # Of what came here and is not read, what was fetched; and where messages of this conversation were fetched to.
        self.fetched: deque[_Fetched] = deque(maxlen=FETCHED_MAX)
        self.copies: set[_Conversation] = set()

    def comes(self, sequence: int) -> bool:
        """Whether a message comes for the first time, and is not one that this client has sent; it has come now."""
        if sequence <= self.had:
            return False
        self.had = sequence
        if not self.own:
            return True
        is_own = sequence in self.own
        self.own = {other for other in self.own if other > sequence}
        return not is_own

    def fetched_upto(self, origin: _Conversation, sequence: int) -> int:
        """Where the last message stands here that is no later over there; 0 if none is."""
        last = 0
        for one in self.fetched:
            if one.origin is not origin or one.origin_sequence > sequence:
                break
            last = one.sequence
        return last


class _Cluster:
    """What is known of a cluster."""

    def __init__(self) -> None:
        self.conversations: dict[int, _Conversation] = {}
        # Conversations in which its servers are to be told how far the user has read.
        self.to_tell: set[int] = set()

    def conversation(self, number: int) -> _Conversation:
        known = self.conversations.get(number)
        if known is None:
            known = self.conversations[number] = _Conversation(self, number)
        return known


class Inbox:
    """Knows each message that has come, wherever it came, and tells each cluster what of its messages was read."""

    def __init__(self) -> None:
        self.cluster = b""
        """The cluster that the client is in; empty as long as no server has said which."""
        # Those that were left longest ago first.
        self._clusters = {self.cluster: _Cluster()}

    # Clusters.

    def enter(self, cluster: bytes) -> None:
        """The client is in another cluster from now on."""
        self.disconnected()
        left = self._clusters.pop(self.cluster)
        if self.cluster:
            self._clusters[self.cluster] = left
        else:
            # Who comes to a cluster without an identity again does not know that it is the same one.
            self._unlink(left)
        self.cluster = cluster
        known = cluster in self._clusters
        self._clusters[cluster] = self._clusters.pop(cluster) if known else _Cluster()
        while len(self._clusters) > CLUSTERS_MAX:
            self._unlink(self._clusters.pop(next(iter(self._clusters))))

    def name(self, cluster: bytes) -> None:
        """The cluster that the client is in, of which nobody had said so yet, is this one."""
        nameless = self._clusters.pop(self.cluster)
        self.cluster = cluster
        if cluster not in self._clusters:
            self._clusters[cluster] = nameless
            return
        # Something was fetched from it, or read in it, before the client came.
        self._unlink(nameless)
        for number, old in nameless.conversations.items():
            one = self._here(number)
            one.had, one.confirmed = max(one.had, old.had), max(one.confirmed, old.confirmed)
            one.own |= old.own
            self._mark(one, old.read)

    def _unlink(self, gone: _Cluster) -> None:
        """Nothing is known any more of what was fetched from or to a cluster."""
        for cluster in self._clusters.values():
            for one in cluster.conversations.values():
                one.copies = {copy for copy in one.copies if copy.cluster is not gone}
                kept = [fetched for fetched in one.fetched if fetched.origin.cluster is not gone]
                one.fetched = deque(kept, FETCHED_MAX)

    def _here(self, number: int) -> _Conversation:
        return self._clusters[self.cluster].conversation(number)

    def _all_here(self) -> Iterable[_Conversation]:
        return self._clusters[self.cluster].conversations.values()

    def _conversation(self, position: Position) -> _Conversation | None:
        """None if that is in a cluster too many."""
        identity = position.cluster or self.cluster
        cluster = self._clusters.get(identity)
        if cluster is None:
            if len(self._clusters) >= CLUSTERS_MAX:
                return None
            # Nobody has been there: it is the first to be forgotten.
            cluster = _Cluster()
            self._clusters = {identity: cluster, **self._clusters}
        return cluster.conversation(position.conversation)

    # What comes.

    def is_new(self, position: Position, origin: Position | None = None) -> bool:
        """Whether a message comes for the first time, and is not one that this client has sent; it has come now. It
        stands in a place of the present cluster, and was perhaps fetched from another one."""
        here, sequence = self._here(position.conversation), position.sequence
        there = self._conversation(origin) if origin is not None else None
        is_first = sequence > here.had
        is_new = here.comes(sequence)
        if origin is None or there is None:
            return is_new
        is_new = there.comes(origin.sequence) and is_new
        if is_first:
            self._link(_Fetched(sequence, there, origin.sequence), here)
        return is_new

    def _link(self, fetched: _Fetched, here: _Conversation) -> None:
        """A message stands in two places: who has read it in one of them has read it in both."""
        sequence, origin, origin_sequence = fetched
        if origin.read >= origin_sequence:
            self._mark(here, sequence)
        elif here.read >= sequence:
            self._mark(origin, origin_sequence)
        else:
            here.fetched.append(fetched)
            origin.copies.add(here)

    def note_own(self, position: Position) -> None:
        """This client has sent a message. After a reconnect the server takes it for another session's."""
        own = self._here(position.conversation).own
        own.add(position.sequence)
        if len(own) > OWN_MAX:
            own.remove(min(own))

    def have(self) -> list[pb.Position]:
        """The last place that has come of each conversation of the present cluster."""
        return [pb.Position(conversation=one.number, sequence=one.had) for one in self._all_here() if one.had]

    # What is read.

    def acknowledge(self, position: Position) -> None:
        """The user has read up to here. A position that names no cluster is one of the present cluster."""
        conversation = self._conversation(position)
        if conversation is not None:
            self._mark(conversation, position.sequence)

    def confirm(self, position: Position) -> None:
        """A server of the present cluster says that the user has read up to here."""
        conversation = self._here(position.conversation)
        conversation.confirmed = max(conversation.confirmed, position.sequence)
        self._mark(conversation, position.sequence)

    def _mark(self, conversation: _Conversation, sequence: int) -> None:
        """The user has read up to here, and so the same messages where else they stand."""
        marks = [(conversation, sequence)]
        while marks:
            conversation, sequence = marks.pop()
            if sequence <= conversation.read:
                continue
            conversation.read = sequence
            if sequence > conversation.confirmed:
                conversation.cluster.to_tell.add(conversation.number)
            fetched = conversation.fetched
            while fetched and fetched[0].sequence <= sequence:
                one = fetched.popleft()
                marks.append((one.origin, one.origin_sequence))
            for copy in conversation.copies:
                marks.append((copy, copy.fetched_upto(conversation, sequence)))

    def has_to_tell(self) -> bool:
        """Whether there is something to be told a server."""
        return bool(self._clusters[self.cluster].to_tell)

    def take_acknowledgements(self) -> list[pb.Position]:
        """What is to be told a server of the present cluster."""
        to_tell = self._clusters[self.cluster].to_tell
        told = [self._here(number) for number in sorted(to_tell)]
        to_tell.clear()
        return [pb.Position(conversation=one.number, sequence=one.read) for one in told]

    def is_confirmed(self) -> bool:
        """Whether all that the user has read of the present cluster is known to be stored."""
        return all(one.read <= one.confirmed for one in self._all_here())

    def disconnected(self) -> None:
        """What was told and not confirmed may not have been carried out: it is told again."""
        to_tell = self._clusters[self.cluster].to_tell
        to_tell.update(one.number for one in self._all_here() if one.read > one.confirmed)
