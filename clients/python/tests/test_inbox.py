"""What has come and what of it was read, in one cluster and in several."""

from __future__ import annotations

import random
import unittest

from ovid_chat import chat_pb2 as pb
from ovid_chat.inbox import CLUSTERS_MAX, Inbox
from ovid_chat.model import Position

EAST, WEST = b"east", b"west"


def pairs(places: list[pb.Position]) -> list[tuple[int, int]]:
    return [(one.conversation, one.sequence) for one in places]


class Case(unittest.TestCase):
    def setUp(self) -> None:
        self.inbox = Inbox()
        self.inbox.name(EAST)

    def told(self) -> list[tuple[int, int]]:
        """What the present cluster is told now."""
        return pairs(self.inbox.take_acknowledgements())


class Coming(Case):
    def test_a_place_comes_once(self) -> None:
        self.assertTrue(self.inbox.is_new(Position(7, 1, EAST)))
        self.assertTrue(self.inbox.is_new(Position(7, 3, EAST)))
        self.assertFalse(self.inbox.is_new(Position(7, 3, EAST)))
        self.assertFalse(self.inbox.is_new(Position(7, 2, EAST)))
        self.assertTrue(self.inbox.is_new(Position(8, 1, EAST)))
        self.assertEqual(pairs(self.inbox.have()), [(7, 3), (8, 1)])

    def test_clusters_have_places_of_their_own(self) -> None:
        self.inbox.is_new(Position(7, 5, EAST))
        self.inbox.enter(WEST)
        self.assertEqual(self.inbox.have(), [])
        self.assertTrue(self.inbox.is_new(Position(7, 1, WEST)))
        self.inbox.enter(EAST)
        self.assertEqual(pairs(self.inbox.have()), [(7, 5)])
        self.assertFalse(self.inbox.is_new(Position(7, 5, EAST)))

    def test_what_was_fetched_comes_once_whichever_place_came_first(self) -> None:
        self.inbox.is_new(Position(7, 5, EAST))
        self.inbox.enter(WEST)
        self.assertFalse(self.inbox.is_new(Position(1, 1, WEST), Position(7, 4, EAST)))
        self.assertFalse(self.inbox.is_new(Position(1, 2, WEST), Position(7, 5, EAST)))
        self.assertTrue(self.inbox.is_new(Position(1, 3, WEST), Position(7, 6, EAST)))
        self.assertFalse(self.inbox.is_new(Position(1, 3, WEST), Position(7, 6, EAST)))
        # Fetched again, to another place.
        self.assertFalse(self.inbox.is_new(Position(1, 4, WEST), Position(7, 6, EAST)))
        self.inbox.enter(b"north")
        self.assertFalse(self.inbox.is_new(Position(2, 1, b"north"), Position(7, 6, EAST)))
        self.inbox.enter(EAST)
        self.assertEqual(pairs(self.inbox.have()), [(7, 6)])
        self.assertFalse(self.inbox.is_new(Position(7, 6, EAST)))
        self.assertTrue(self.inbox.is_new(Position(7, 7, EAST)))

    def test_what_it_has_sent_itself_is_not_new_even_after_it_was_elsewhere(self) -> None:
        self.inbox.note_own(Position(7, 2, EAST))
        self.inbox.enter(WEST)
        self.assertTrue(self.inbox.is_new(Position(7, 2, WEST)))
        self.inbox.enter(EAST)
        self.assertTrue(self.inbox.is_new(Position(7, 1, EAST)))
        self.assertFalse(self.inbox.is_new(Position(7, 2, EAST)))

    def test_what_came_before_a_server_said_which_cluster_it_is_came_in_that_one(self) -> None:
        self.inbox = Inbox()
        # A place to which the user has got elsewhere, kept by whoever uses the client.
        self.inbox.acknowledge(Position(8, 1, EAST))
        self.inbox.is_new(Position(7, 5))
        self.inbox.acknowledge(Position(7, 4))
        self.inbox.note_own(Position(7, 6))
        self.inbox.name(EAST)
        self.assertEqual(self.told(), [(7, 4), (8, 1)])
        self.assertEqual(pairs(self.inbox.have()), [(7, 5)])
        self.assertFalse(self.inbox.is_new(Position(7, 6, EAST)))
        self.inbox.acknowledge(Position(7, 5))
        self.assertEqual(self.told(), [(7, 5)])

    def test_a_cluster_without_an_identity_is_another_one_each_time(self) -> None:
        self.inbox.enter(b"")
        self.inbox.is_new(Position(7, 5))
        self.inbox.acknowledge(Position(7, 5))
        self.inbox.enter(b"")
        self.assertEqual((self.inbox.have(), self.told()), ([], []))
        self.assertTrue(self.inbox.is_new(Position(7, 5)))
        self.inbox.enter(WEST)
        self.inbox.enter(b"")
        self.assertTrue(self.inbox.is_new(Position(7, 5)))


class Reading(Case):
    def test_what_was_read_is_told_once_and_again_if_it_was_not_confirmed(self) -> None:
        for position in (Position(7, 2, EAST), Position(8, 5, EAST), Position(7, 1, EAST)):
            self.inbox.acknowledge(position)
        self.assertEqual(self.told(), [(7, 2), (8, 5)])
        self.assertFalse(self.inbox.has_to_tell())
        self.inbox.acknowledge(Position(7, 2, EAST))
        self.assertFalse(self.inbox.has_to_tell())
        self.inbox.confirm(Position(8, 5, EAST))
        self.assertFalse(self.inbox.is_confirmed())
        self.inbox.disconnected()
        self.assertEqual(self.told(), [(7, 2)])
        self.inbox.confirm(Position(7, 3, EAST))
        self.inbox.confirm(Position(7, 1, EAST))
        self.assertTrue(self.inbox.is_confirmed())
        self.inbox.disconnected()
        self.assertFalse(self.inbox.has_to_tell())

    def test_each_cluster_is_told_of_its_own_places_only(self) -> None:
        self.inbox.acknowledge(Position(7, 5, EAST))
        self.assertEqual(self.told(), [(7, 5)])
        self.inbox.enter(WEST)
        self.inbox.acknowledge(Position(7, 6, EAST))
        self.inbox.acknowledge(Position(8, 1, EAST))
        self.assertEqual((self.told(), self.inbox.is_confirmed()), ([], True))
        # By hand: a place of the present cluster.
        self.inbox.acknowledge(Position(7, 2))
        self.assertEqual(self.told(), [(7, 2)])
        self.inbox.enter(EAST)
        self.assertEqual(self.told(), [(7, 6), (8, 1)])

    def test_who_reads_what_was_fetched_has_read_it_where_it_came_from(self) -> None:
        self.inbox.enter(WEST)
        for number in (1, 2, 3):
            self.inbox.is_new(Position(1, number, WEST), Position(7, 10 + number, EAST))
        self.inbox.acknowledge(Position(1, 2, WEST))
        self.assertEqual(self.told(), [(1, 2)])
        self.inbox.enter(EAST)
        self.assertEqual(self.told(), [(7, 12)])
        # Shown over there, and read after the client has left.
        self.inbox.acknowledge(Position(1, 3, WEST))
        self.assertEqual(self.told(), [(7, 13)])
        self.inbox.enter(WEST)
        self.assertEqual(self.told(), [(1, 3)])

    def test_a_message_that_came_before_is_read_where_it_comes_again_once_it_was_read(self) -> None:
        for number in (1, 2, 3, 4):
            self.inbox.is_new(Position(7, number, EAST))
        self.inbox.acknowledge(Position(7, 2, EAST))
        self.inbox.enter(WEST)
        self.inbox.is_new(Position(1, 1, WEST), Position(7, 2, EAST))
        self.assertEqual(self.told(), [(1, 1)])
        self.inbox.is_new(Position(1, 2, WEST), Position(7, 3, EAST))
        self.inbox.is_new(Position(1, 3, WEST), Position(7, 4, EAST))
        self.assertFalse(self.inbox.has_to_tell())
        self.inbox.acknowledge(Position(7, 3, EAST))
        self.assertEqual(self.told(), [(1, 2)])
        self.inbox.acknowledge(Position(7, 4, EAST))
        self.assertEqual(self.told(), [(1, 3)])

    def test_what_two_clusters_have_fetched_is_read_in_both(self) -> None:
        for cluster in (EAST, WEST):
            self.inbox.enter(cluster)
            self.inbox.is_new(Position(1, 1, cluster), Position(7, 4, b"north"))
        self.inbox.acknowledge(Position(1, 1, EAST))
        for cluster, place in ((WEST, (1, 1)), (b"north", (7, 4)), (EAST, (1, 1))):
            self.inbox.enter(cluster)
            self.assertEqual(self.told(), [place])

    def test_what_another_session_has_read_is_read(self) -> None:
        self.inbox.is_new(Position(7, 1, EAST))
        self.inbox.confirm(Position(7, 1, EAST))
        self.assertFalse(self.inbox.has_to_tell())
        self.inbox.enter(WEST)
        self.inbox.is_new(Position(1, 1, WEST), Position(7, 1, EAST))
        self.assertEqual(self.told(), [(1, 1)])

    def test_what_was_read_before_it_came_is_read_where_it_came_from(self) -> None:
        self.inbox.enter(WEST)
        self.inbox.acknowledge(Position(1, 2))
        for number in (1, 2, 3):
            self.inbox.is_new(Position(1, number, WEST), Position(7, number, EAST))
        self.inbox.enter(EAST)
        self.assertEqual(self.told(), [(7, 2)])

    def test_what_is_unread_and_from_elsewhere_is_not_read_by_what_stands_behind_it(self) -> None:
        self.inbox.is_new(Position(1, 1, EAST), Position(7, 1, WEST))
        self.inbox.is_new(Position(1, 2, EAST), Position(8, 3, WEST))
        self.inbox.acknowledge(Position(8, 3, WEST))
        self.assertEqual(self.told(), [])
        self.inbox.acknowledge(Position(1, 2, EAST))
        self.assertEqual(self.told(), [(1, 2)])


class Bounds(Case):
    def test_no_more_clusters_are_kept_than_it_says(self) -> None:
        others = [bytes([number]) for number in range(CLUSTERS_MAX - 1)]
        for number, other in enumerate(others, 1):
            self.assertTrue(self.inbox.is_new(Position(1, number, EAST), Position(1, 1, other)))
        # Of this one nothing is remembered: neither that it came, nor what was read of it.
        for number in (100, 101):
            self.assertTrue(self.inbox.is_new(Position(1, number, EAST), Position(1, 1, WEST)))
        self.assertFalse(self.inbox.is_new(Position(1, 102, EAST), Position(1, 1, others[0])))
        self.inbox.acknowledge(Position(1, 1, WEST))
        self.assertEqual(len(self.inbox._clusters), CLUSTERS_MAX)
        # Where the client is it remembers; for that something else is forgotten, where it never was.
        self.inbox.enter(WEST)
        self.assertEqual((self.told(), len(self.inbox._clusters)), ([], CLUSTERS_MAX))
        self.assertTrue(self.inbox.is_new(Position(1, 1, WEST)))
        self.assertFalse(self.inbox.is_new(Position(1, 1, WEST)))
        self.inbox.enter(EAST)
        self.assertEqual(pairs(self.inbox.have()), [(1, 102)])

    def test_what_was_left_longest_ago_is_forgotten_first_and_so_are_its_messages(self) -> None:
        self.inbox.enter(WEST)
        self.inbox.is_new(Position(1, 1, WEST), Position(7, 1, EAST))
        for number in range(CLUSTERS_MAX - 1):
            self.inbox.enter(bytes([number]))
        # East is forgotten, west is not.
        self.inbox.acknowledge(Position(1, 1, WEST))
        self.inbox.enter(EAST)
        self.assertEqual((self.told(), self.inbox.have()), ([], []))

    def test_where_the_client_has_been_is_remembered_before_where_it_has_not(self) -> None:
        self.inbox.is_new(Position(1, 1, EAST))
        self.inbox.enter(WEST)
        for number in range(CLUSTERS_MAX - 2):
            self.inbox.is_new(Position(1, number, WEST), Position(1, 1, bytes([number])))
        self.inbox.enter(b"north")
        self.inbox.enter(EAST)
        self.assertEqual(pairs(self.inbox.have()), [(1, 1)])

    def test_of_clusters_that_are_forgotten_nothing_is_left(self) -> None:
        for number in range(3 * CLUSTERS_MAX):
            for cluster in (b"", number.to_bytes(2, "big")):
                self.inbox.enter(cluster)
                self.inbox.is_new(Position(1, 1), Position(1, number + 1, EAST))
            # So that it is not forgotten itself.
            self.inbox.enter(EAST)
        self.assertLess(len(self.inbox._clusters[EAST].conversations[1].copies), CLUSTERS_MAX)

    def test_servers_that_name_a_long_chain_of_places_do_no_harm(self) -> None:
        for number in range(5000):
            self.inbox.is_new(Position(number, 1, EAST), Position(number + 1, 9, EAST))
        self.inbox.acknowledge(Position(0, 1, EAST))
        self.assertEqual(self.told()[0], (0, 1))


class World:
    """Clusters that fetch from each other, and a user who moves between them. What the user has seen and read is known
    by each message's first place; the inbox has to come to the same."""

    CLUSTERS = (b"a", b"b", b"c")

    def __init__(self, case: unittest.TestCase, rng: random.Random) -> None:
        self.case, self.rng = case, rng
        # Of each conversation of each cluster, the first places of its messages.
        self.logs: dict[bytes, dict[int, list[Position]]] = {one: {1: [], 2: []} for one in self.CLUSTERS}
        self.copies: dict[tuple[bytes, bytes, int], int] = {}
        self.fetched: dict[tuple[bytes, bytes, int], int] = {}
        # What the clusters know of what was read.
        self.marks: dict[bytes, dict[int, int]] = {one: {} for one in self.CLUSTERS}
        # What the user knows: which first places were shown, and where; how far each first conversation was read.
        self.shown: dict[Position, Position] = {}
        self.read: dict[tuple[bytes, int], int] = {}
        self.inbox = Inbox()
        self.inbox.name(b"a")
        self.pushed: dict[int, int] = {}
        self.log_in()

    def log_in(self) -> None:
        here = self.inbox.cluster
        self.pushed = dict(pairs(self.inbox.have()))
        for number in self.logs[here]:
            self.pushed.setdefault(number, self.marks[here].get(number, 0))

    def write(self) -> None:
        cluster, number = self.rng.choice(self.CLUSTERS), self.rng.choice((1, 2))
        log = self.logs[cluster][number]
        log.append(Position(number, len(log) + 1, cluster))

    def fetch(self) -> None:
        here, there = self.rng.sample(self.CLUSTERS, 2)
        number = self.rng.choice((1, 2))
        key = (here, there, number)
        start = max(self.fetched.get(key, 0), self.marks[there].get(number, 0))
        found = self.logs[there][number][start:][: self.rng.randrange(4)]
        if found:
            self.fetched[key] = found[-1].sequence
            copy = self.copies.setdefault(key, len(self.logs[here]) + 1)
            self.logs[here].setdefault(copy, []).extend(found)

    def push(self) -> None:
        here = self.inbox.cluster
        number = self.rng.choice(list(self.logs[here]))
        start = self.pushed.get(number, self.marks[here].get(number, 0))
        if start and self.rng.random() < 0.2:
            # Again what was pushed before.
            start = self.rng.randrange(start)
        for sequence, first in list(enumerate(self.logs[here][number], 1))[start:][: self.rng.randrange(4)]:
            place = Position(number, sequence, here)
            is_new = self.inbox.is_new(place, first if first.cluster != here else None)
            is_read = first.sequence <= self.read.get((first.cluster, first.conversation), 0)
            self.case.assertEqual(is_new, first not in self.shown and not is_read, (place, first))
            if is_new:
                self.shown[first] = place
            self.pushed[number] = max(self.pushed.get(number, 0), sequence)

    def acknowledge(self) -> None:
        if self.shown:
            first, place = self.rng.choice(list(self.shown.items()))
            key = (first.cluster, first.conversation)
            self.read[key] = max(self.read.get(key, 0), first.sequence)
            self.inbox.acknowledge(place)

    def tell(self) -> None:
        here = self.inbox.cluster
        for number, sequence in pairs(self.inbox.take_acknowledgements()):
            # Never more than the user has read.
            first = self.logs[here][number][sequence - 1]
            self.case.assertLessEqual(first.sequence, self.read.get((first.cluster, first.conversation), 0))
            if self.rng.random() < 0.7:
                self.marks[here][number] = max(self.marks[here].get(number, 0), sequence)
                if self.rng.random() < 0.7:
                    self.inbox.confirm(Position(number, self.marks[here][number], here))

    def reconnect(self) -> None:
        self.inbox.disconnected()
        self.log_in()

    def move(self) -> None:
        self.inbox.enter(self.rng.choice([one for one in self.CLUSTERS if one != self.inbox.cluster]))
        self.log_in()

    def settle(self) -> None:
        """Everything comes, and every cluster learns what was read."""
        for here in self.CLUSTERS * 2:
            if here != self.inbox.cluster:
                self.inbox.enter(here)
                self.log_in()
            while any(self.pushed.get(number, 0) < len(log) for number, log in self.logs[here].items()):
                self.push()
            for _ in range(100):
                self.reconnect()
                self.tell()
            self.case.assertTrue(self.inbox.is_confirmed())

    def check(self) -> None:
        for cluster, logs in self.logs.items():
            for number, log in logs.items():
                read = [
                    sequence
                    for sequence, first in enumerate(log, 1)
                    if first.sequence <= self.read.get((first.cluster, first.conversation), 0)
                ]
                self.case.assertEqual(self.marks[cluster].get(number, 0), max(read, default=0))
                for first in log:
                    self.case.assertIn(first, self.shown)


class Moving(unittest.TestCase):
    def test_any_walk_shows_each_message_once_and_tells_each_cluster_what_was_read(self) -> None:
        for seed in range(300):
            with self.subTest(seed=seed):
                rng = random.Random(seed)
                world = World(self, rng)
                steps = [
                    world.write,
                    world.fetch,
                    world.push,
                    world.acknowledge,
                    world.tell,
                    world.reconnect,
                    world.move,
                ]
                for step in rng.choices(steps, weights=[10, 6, 20, 6, 6, 1, 1], k=250):
                    step()
                world.settle()
                world.check()


if __name__ == "__main__":
    unittest.main()
