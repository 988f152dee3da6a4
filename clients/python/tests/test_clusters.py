"""The clients with two clusters of real servers that know each other."""

from __future__ import annotations

import contextlib
import itertools
import unittest

from fake import wait_for
from real import Servers, needs_servers

from ovid_chat import Client, Message

TIMEOUT_S = 30
"""For machines that have much else to do."""


@needs_servers
class Clusters(unittest.TestCase):
    def test_what_waits_in_another_cluster_comes_once(self) -> None:
        with contextlib.ExitStack() as stack:
            east = stack.enter_context(contextlib.closing(Servers(1, group_tag="east")))
            west = stack.enter_context(
                contextlib.closing(Servers(1, group_tag="west", clusters={"east": east.addresses}))
            )

            def client(user: str, servers: Servers) -> Client:
                chat = Client(user, "secret", servers.addresses, timeout=TIMEOUT_S)
                stack.enter_context(chat)
                chat.register(exist_ok=True)
                return chat

            ann = client("ann", east)
            client("bob", east).log_in()
            with Client("bob", "secret", west.addresses, timeout=TIMEOUT_S) as bob:
                bob.register()
                for number in range(20):
                    ann.send("bob", str(number))
                found = bob.messages(timeout=TIMEOUT_S)
                messages = [next(found) for _ in range(20)]
                self.assertEqual([one.text for one in messages], [str(number) for number in range(20)])
                self.assertEqual({(one.sender, one.cluster) for one in messages}, {("ann", "east")})
                page = bob.history("ann@east", limit=5)
                self.assertEqual(
                    [one.text for one in page.messages], [str(number) for number in range(15, 20)]
                )
                bob.acknowledge(messages[-1])
                # It was read here, and so it is read there.
                there = client("bob", east)
                wait_for(lambda: all(one.unread == 0 for one in there.conversations()), TIMEOUT_S)
            with Client("bob", "secret", west.addresses, timeout=TIMEOUT_S) as bob:
                ann.send("bob", "last")
                self.assertEqual([one.text for one in bob.messages(timeout=5)], ["last"])


@needs_servers
class Moving(unittest.TestCase):
    """Two clusters that know each other, of one server each, and bob, whose client goes to the other one when that of
    its cluster is killed. Ann writes to him in the east, cat in the west."""

    def setUp(self) -> None:
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.east = self.cluster("east", {})
        self.west = self.cluster("west", {"east": self.east.addresses})
        self.ann, self.cat = self.user("ann", self.east), self.user("cat", self.west)
        for servers in (self.west, self.east):
            with Client("bob", "secret", servers.addresses, timeout=TIMEOUT_S) as bob:
                bob.register()
        # Those that are given first are tried first.
        both = [*self.east.addresses, *self.west.addresses]
        self.bob = self.stack.enter_context(Client("bob", "secret", both, timeout=TIMEOUT_S))
        self.found = self.bob.messages(timeout=TIMEOUT_S, acknowledge=False)
        self.shown: dict[str, Message] = {}

    def cluster(self, tag: str, others: dict[str, list[str]]) -> Servers:
        return self.stack.enter_context(contextlib.closing(Servers(1, group_tag=tag, clusters=others)))

    def user(self, name: str, servers: Servers) -> Client:
        chat = self.stack.enter_context(Client(name, "secret", servers.addresses, timeout=TIMEOUT_S))
        chat.register()
        return chat

    def see(self, *texts: str) -> None:
        """Bob is shown these messages next, those of each sender in this order, and no other one."""
        seen: list[str] = []
        for message in itertools.islice(self.found, len(texts)):
            self.assertNotIn(message.text, self.shown)
            self.shown[message.text] = message
            seen.append(message.text)
        for place in ("east", "west"):
            self.assertEqual(
                [text for text in seen if text.startswith(place)],
                [text for text in texts if text.startswith(place)],
            )

    def acknowledge(self, *texts: str) -> None:
        for text in texts:
            self.bob.acknowledge(self.shown[text])

    def unread_becomes(self, bob: Client, unread: dict[str, int]) -> None:
        """So much of what bob was written is unread in the cluster that he is in, after a while."""
        told: dict[str, int] = {}

        def has_become() -> bool:
            told.clear()
            for one in bob.conversations():
                told[f"{one.name}@{one.cluster}" if one.cluster else one.name] = one.unread
            return told == unread

        try:
            wait_for(has_become, TIMEOUT_S)
        except TimeoutError:
            self.fail(f"{told}, not {unread}: {self.east.said()}, {self.west.said()}")

    def move(self, left: Servers, entered: Servers) -> None:
        """Bob's server is killed under him, and so he goes to the other cluster."""
        self.assertEqual(str(self.bob.server), left.addresses[0])
        left.kill(0)
        wait_for(lambda: str(self.bob.server) == entered.addresses[0], TIMEOUT_S)

    def test_who_moves_is_shown_each_message_once_and_has_read_it_everywhere(self) -> None:
        ann, cat, bob, east, west = self.ann, self.cat, self.bob, self.east, self.west
        bob.log_in()
        for number in range(3):
            ann.send("bob", f"east {number}")
            cat.send("bob", f"west {number}")
        self.see(*(f"{place} {number}" for number in range(3) for place in ("east", "west")))
        self.acknowledge("east 0", "west 0")
        self.unread_becomes(bob, {"ann": 2, "cat@west": 2})

        self.move(east, west)
        # What was shown in the east waits here, but for what was acknowledged; and it is not shown again.
        self.unread_becomes(bob, {"cat": 2})
        cat.send("bob", "west 3")
        self.see("west 3")
        east.start(0)
        ann.send("bob", "east 3")
        self.see("east 3")
        self.acknowledge("east 1", "west 2")
        self.unread_becomes(bob, {"ann@east": 2, "cat": 1})

        self.move(west, east)
        self.unread_becomes(bob, {"ann": 2, "cat@west": 0})
        ann.send("bob", "east 4")
        self.see("east 4")
        west.start(0)
        cat.send("bob", "west 4")
        self.see("west 4")
        self.unread_becomes(bob, {"ann": 3, "cat@west": 2})
        self.acknowledge("east 4", "west 4")
        self.unread_becomes(bob, {"ann": 0, "cat@west": 0})

        # What the west had fetched is read there, too, once the client is there.
        self.move(east, west)
        self.unread_becomes(bob, {"ann@east": 0, "cat": 0})
        east.start(0)
        self.assertEqual([one.text for one in bob.messages(timeout=0.5)], [])
        for servers, names in ((east, ("ann", "cat@west")), (west, ("ann@east", "cat"))):
            with Client("bob", "secret", servers.addresses, timeout=TIMEOUT_S) as again:
                self.unread_becomes(again, dict.fromkeys(names, 0))
                self.assertEqual([one.text for one in again.messages(timeout=0.5)], [])


if __name__ == "__main__":
    unittest.main()
