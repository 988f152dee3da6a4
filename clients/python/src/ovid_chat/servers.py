"""Which server a client goes to next, and when. Pure: no clock, no sockets."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from google.protobuf.message import DecodeError

from ovid_chat import chat_pb2 as pb
from ovid_chat.model import Address

PAUSE_S_MIN = 0.05
PAUSE_S_MAX = 2.0


class Servers:
    """The servers that are known: those that were given, and those that a server or discovery named.

    The next one is tried at once. When all of them have failed since somebody logged in, there is a pause, which
    doubles each time and has chance in it, so that many clients do not come back at the same moment.
    """

    def __init__(self, given: Iterable[Address], rng: random.Random) -> None:
        self._given = list(dict.fromkeys(given))
        self._learnt: list[Address] = []
        self._rng = rng
        self._tried: list[Address] = []
        # Those with which another try would not help, since one of them was of use.
        self._refused: set[Address] = set()
        self._rounds = 0

    def known(self) -> list[Address]:
        """All of them, in the order in which they are tried."""
        return list(dict.fromkeys([*self._learnt, *self._given]))

    def next(self) -> Address | None:
        """The next one that was not tried in this round; none if all of them were."""
        for server in self.known():
            if server not in self._tried:
                self._tried.append(server)
                return server
        return None

    def refused(self, server: Address) -> None:
        """Another try of this one would not help."""
        self._refused.add(server)

    def are_all_refused(self) -> bool:
        """Whether another try would not help with any of them."""
        return self._refused.issuperset(self.known())

    def begin_anew(self) -> None:
        """None of them is of use: they are all to be tried when somebody asks for something again."""
        self._rounds = 0
        self._refused.clear()
        self._tried.clear()

    def pause_s(self) -> float:
        """All have failed: how long to wait before they are tried again."""
        longest = min(PAUSE_S_MIN * 2.0 ** min(self._rounds, 16), PAUSE_S_MAX)
        self._rounds += 1
        self._tried.clear()
        return longest * self._rng.uniform(0.5, 1.0)

    def succeeded(self, server: Address, others: Sequence[Address]) -> None:
        """A server has logged the user in, and named others."""
        self._rounds = 0
        self._refused.clear()
        # If the connection breaks, the one that it was to is tried last.
        self._tried = [server, *others[:1]]
        if others:
            # The first one is this server, perhaps under another name.
            learnt = [other for other in others[1:] if other != server]
            # Not all clients of a server that dies are to go to the same other one.
            self._rng.shuffle(learnt)
            self._learnt = [*learnt, server]

    def discovered(self, server: Address) -> None:
        """Discovery has named one: it is tried first."""
        self._learnt = [server, *(other for other in self._learnt if other != server)]
        if server in self._tried:
            self._tried.remove(server)


def addresses_of(texts: Iterable[str]) -> list[Address]:
    """Of what a server names; what cannot be read is passed over."""
    found = []
    for text in texts:
        try:
            found.append(Address.parse(text))
        except ValueError:
            continue
    return found


def discovery_request(number: int, group_tag: str, secret: str, own: Address) -> bytes:
    """The datagram that asks for a server; `own` is where the answer is to go."""
    packet = pb.NetworkDiscoveryPacket(
        mode=pb.NetworkDiscoveryPacket.REQUEST,
        sender=pb.NetworkDiscoveryPacket.END_USER_CLIENT,
        groupTag=group_tag,
        nodeAddress=own.host,
        nodePort=own.port,
        secret=secret,
    )
    route = pb.Route(id=number, path=pb.Route.NETWORK_DISCOVERY, networkDiscoveryPacket=packet)
    data: bytes = route.SerializeToString()
    return data


def discovery_answer(data: bytes, group_tag: str) -> Address | None:
    """The server that a datagram names; none if it is no answer, or one of another group."""
    try:
        route = pb.Route.FromString(data)
    except DecodeError:
        return None
    packet = route.networkDiscoveryPacket
    if not route.HasField("networkDiscoveryPacket") or packet.mode != pb.NetworkDiscoveryPacket.RESPONSE:
        return None
    if group_tag and packet.groupTag and packet.groupTag != group_tag:
        return None
    if not packet.nodeAddress or not 0 < packet.nodePort < 65536:
        return None
    return Address(packet.nodeAddress, packet.nodePort)
