"""The client's core, step by step, with a server that the test plays and a clock that it moves."""

from __future__ import annotations

import random
import unittest

from play import SERVERS, Play, push

from ovid_chat import chat_pb2 as pb
from ovid_chat.contract import Connect, Disconnect, Discover, Settings, Settled
from ovid_chat.core import Phase
from ovid_chat.errors import Busy, Unknown, Unreachable, Untrusted
from ovid_chat.model import Address, Down, Position, Read, Stopped
from ovid_chat.wire import Frames, FrameTooLong, frame


class Receiving(Play):
    def test_a_message_that_comes_again_is_not_told_again(self) -> None:
        self.log_in()
        self.push(push(1), push(2))
        self.push(push(2), push(3), push(1))
        self.push(push(1, "other", conversation=8))
        self.assertEqual(self.arrived(), ["1", "2", "3", "other"])

    def test_a_new_server_is_told_what_has_come_and_what_was_read(self) -> None:
        self.assertEqual(list(self.log_in().have), [])
        self.push(push(1), push(2), push(5, conversation=8))
        self.core.acknowledge(self.now, Position(7, 1))
        self.core.acknowledge(self.now, Position(7, 2))
        self.core.acknowledge(self.now, Position(7, 1))
        self.assertEqual(self.sent(), [])
        self.wait()
        (route,) = self.sent()
        self.assertEqual([(one.conversation, one.sequence) for one in route.acknowledged], [(7, 2)])
        self.core.closed(self.now, "died")
        login = self.connect()
        self.assertEqual([(one.conversation, one.sequence) for one in login.have], [(7, 2), (8, 5)])
        self.assertEqual(login.token, b"token")
        (route,) = self.sent()
        self.assertEqual([(one.conversation, one.sequence) for one in route.acknowledged], [(7, 2)])

    def test_what_it_has_sent_itself_is_not_told_although_it_wants_an_echo(self) -> None:
        self.start(Settings("bob", "secret", SERVERS, echo=True))
        self.log_in()
        for number, route in enumerate(self.post("a", "b"), 1):
            self.accept(route, number)
        self.core.closed(self.now, "died")
        self.connect(expected=3)
        self.push(push(1, "a", "bob"), push(2, "b", "bob"), push(3, "by another session", "bob"))
        self.assertEqual(self.arrived(), ["by another session"])


class Moving(Play):
    """Between two clusters, whose conversations have the same numbers."""

    def move(self, cluster: bytes, moved: bool = True) -> tuple[pb.Login, pb.Login]:
        """The server dies, and the next one is of this cluster: how the client logs in at first, and in the end."""
        self.core.closed(self.now, "died")
        first = self.connect(tag=cluster.decode(), cluster=cluster)
        return first, self.connect(tag=cluster.decode(), cluster=cluster) if moved else first

    def begin(self) -> None:
        self.core.log_in(self.now, "log-in")
        login = self.connect(tag="east", cluster=b"east")
        self.assertEqual((login.HasField("cluster"), list(login.have)), (False, []))

    @staticmethod
    def have(login: pb.Login) -> dict[int, int]:
        return {one.conversation: one.sequence for one in login.have}

    def test_another_cluster_has_other_places(self) -> None:
        self.begin()
        self.push(push(5))
        first, second = self.move(b"west")
        self.assertEqual((first.cluster, self.have(first)), (b"east", {7: 5}))
        self.assertEqual((second.cluster, self.have(second), second.token), (b"west", {}, b""))
        self.assertNotEqual(first.client, second.client)
        self.push(push(1))
        self.assertEqual(self.arrived(), ["5", "1"])
        again, _ = self.move(b"west", moved=False)
        self.assertEqual((again.client, again.cluster, self.have(again)), (second.client, b"west", {7: 1}))
        _, back = self.move(b"east")
        self.assertNotIn(back.client, (first.client, second.client))
        self.assertEqual((back.cluster, self.have(back)), (b"east", {7: 5}))

    def test_a_cluster_without_an_identity_is_known_by_its_tag_as_long_as_the_client_is_there(self) -> None:
        self.log_in()
        self.push(push(5))
        self.core.closed(self.now, "died")
        first = self.connect(tag="elsewhere")
        second = self.connect(tag="elsewhere")
        self.assertEqual((self.have(first), self.have(second), second.token), ({7: 5}, {}, b""))
        self.assertNotEqual(first.client, second.client)
        self.push(push(1))
        self.assertEqual(self.arrived(), ["5", "1"])

    def test_a_cluster_is_told_by_its_identity_whatever_its_tag_is(self) -> None:
        self.log_in()
        self.push(push(5))
        self.core.closed(self.now, "died")
        # The same servers, of which nobody knew it before.
        first = self.connect(cluster=b"one")
        self.core.closed(self.now, "died")
        renamed = self.connect(tag="elsewhere", cluster=b"one")
        self.assertEqual(
            (renamed.client, renamed.cluster, self.have(renamed)), (first.client, b"one", {7: 5})
        )
        self.core.closed(self.now, "died")
        # Begun anew under its tag.
        self.connect(tag="elsewhere", cluster=b"two")
        second = self.connect(tag="elsewhere", cluster=b"two")
        self.assertEqual((second.cluster, self.have(second)), (b"two", {}))
        self.assertNotEqual(first.client, second.client)

    def test_nothing_is_shown_twice_and_all_is_read_wherever_it_stands(self) -> None:
        self.begin()
        self.push(push(1, "one"), push(2, "two"), push(3, "three"))
        one, two, three = self.messages()
        self.assertEqual(two.position, Position(7, 2, b"east"))
        assert one.position and two.position and three.position
        self.core.acknowledge(self.now, one.position)
        self.assertEqual(self.acknowledged(), [(7, 1)])
        self.move(b"west")
        # These servers have fetched them, into a conversation of the same number; there is one of their own.
        fetched = [
            push(index + 1, text, origin=Position(7, index + 1, b"east"))
            for index, text in enumerate(("one", "two", "three", "four", "five"))
        ]
        self.push(push(1, "native", conversation=8), *fetched)
        self.assertEqual(self.arrived(), ["one", "two", "three", "native", "four", "five"])
        # The first was read already.
        self.assertEqual(self.acknowledged(), [(7, 1)])
        # Read where it stood at first: this cluster is told where it stands here.
        self.core.acknowledge(self.now, two.position)
        self.assertEqual(self.acknowledged(), [(7, 2)])
        four = self.messages()[4].position
        assert four is not None
        self.assertEqual(four, Position(7, 4, b"west"))
        self.core.acknowledge(self.now, four)
        self.assertEqual(self.acknowledged(), [(7, 4)])
        _, back = self.move(b"east")
        self.assertEqual(self.have(back), {7: 5})
        # What was read of it elsewhere.
        self.assertEqual(self.acknowledged(), [(7, 4)])
        self.push(push(5, "five"), push(6, "six"))
        self.assertEqual(self.arrived()[5:], ["five", "six"])

    def test_what_was_shown_in_one_cluster_is_not_read_in_another(self) -> None:
        self.begin()
        self.push(push(5))
        (five,) = self.messages()
        assert five.position is not None
        self.move(b"west")
        self.push(push(9))
        self.core.acknowledge(self.now, five.position)
        self.assertEqual(self.acknowledged(), [])
        self.assertFalse(self.core.is_acknowledging())
        # Made by hand: it means where the client is.
        self.core.acknowledge(self.now, Position(7, 8))
        self.assertEqual(self.acknowledged(), [(7, 8)])
        self.move(b"east")
        self.assertEqual(self.acknowledged(), [(7, 5)])

    def test_what_was_not_confirmed_is_told_again_where_it_was_read_and_nowhere_else(self) -> None:
        self.begin()
        self.push(push(1), push(2, conversation=8))
        for message in self.messages():
            assert message.position is not None
            self.core.acknowledge(self.now, message.position)
        self.assertEqual(self.acknowledged(), [(7, 1), (8, 2)])
        confirmed = pb.Route(id=0, path=pb.Route.HEADER)
        confirmed.readBy.add(user="bob", position=pb.Position(conversation=8, sequence=2))
        self.answer(confirmed)
        self.assertTrue(self.core.is_acknowledging())
        self.move(b"west")
        self.assertEqual(self.acknowledged(), [])
        # Said over there of the conversation that has the same number.
        confirmed.readBy[0].position.conversation = 7
        self.answer(confirmed)
        self.move(b"east")
        self.assertEqual(self.acknowledged(), [(7, 1)])

    def test_places_are_those_of_the_cluster_that_answers(self) -> None:
        self.begin()
        self.post("hello")
        self.move(b"west")
        self.assertEqual(self.sent(), [])
        (route,) = self.post("again")
        self.accept(route, 4)
        self.settled()
        sent = [
            event.value for event in self.events if isinstance(event, Settled) and event.ticket == "again"
        ]
        self.assertEqual([one.position for one in sent], [Position(7, 4, b"west")])
        mark = pb.Route(id=0, path=pb.Route.HEADER)
        mark.readBy.add(user="ann", position=pb.Position(conversation=7, sequence=4))
        self.answer(mark)
        self.settled()
        self.assertIn(Read("ann", Position(7, 4, b"west")), self.events)


class Sending(Play):
    def test_a_refusal_uses_its_number_up(self) -> None:
        self.log_in()
        one, two = self.post("one", "two")
        self.refuse(one, pb.NOT_FOUND)
        self.accept(two)
        self.assertEqual([route.message.number for route in self.post("three")], [3])

    def test_busy_is_waited_for_and_sent_again_in_order(self) -> None:
        self.log_in()
        one, two, three = self.post("one", "two", "three")
        self.refuse(one, pb.BUSY)
        self.refuse(two, pb.OUT_OF_ORDER, expected=1)
        self.refuse(three, pb.OUT_OF_ORDER, expected=1)
        self.assertEqual(self.post("four"), [])
        self.wait()
        again = self.sent()
        self.assertEqual([route.message.payload for route in again], ["one", "two", "three", "four"])
        self.assertEqual([route.message.number for route in again], [1, 2, 3, 4])
        self.assertTrue(all(route.id not in (one.id, two.id, three.id) for route in again))

    def test_pauses_grow_to_a_bound(self) -> None:
        self.log_in()
        (route,) = self.post("one")
        self.refuse(route, pb.UNKNOWN)
        pauses = []
        for _ in range(12):
            before = self.now
            while not (again := [one for one in self.sent() if one.HasField("message")]):
                self.wait()
                # It lives, however long that takes.
                self.answer(pb.Route(id=0, path=pb.Route.PING))
            pauses.append(self.now - before)
            self.refuse(again[0], pb.UNKNOWN)
        self.assertLess(pauses[0], 0.06)
        self.assertGreater(min(pauses[-3:]), 0.4)
        self.assertLess(max(pauses), 1.1)

    def test_only_as_many_are_under_way_as_the_server_takes(self) -> None:
        self.log_in()
        self.core._in_flight_max = 2
        one, two = self.post("one", "two", "three")
        self.accept(two)
        self.assertEqual([route.message.payload for route in self.sent()], ["three"])
        self.accept(one)
        self.assertEqual(self.sent(), [])

    def test_of_a_client_that_was_forgotten_what_was_under_way_is_unknown(self) -> None:
        self.log_in()
        self.accept(self.post("one")[0])
        self.post("two")
        self.core.closed(self.now, "died")
        self.post("three")
        first = self.connect(expected=1)
        second = self.connect(expected=1)
        self.assertNotEqual(first.client, second.client)
        self.assertEqual(self.settled(), {"log-in": None, "one": None, "two": Unknown})
        (route,) = self.sent()
        self.assertEqual((route.message.payload, route.message.number), ("three", 1))

    def test_a_number_that_never_comes_makes_a_new_instance_without_doubt(self) -> None:
        self.log_in()
        one, two, _ = self.post("one", "two", "three")
        self.refuse(one, pb.NOT_FOUND)
        # A server that does not use up the numbers of what it refuses.
        self.refuse(two, pb.OUT_OF_ORDER, expected=1)
        self.connect()
        self.assertEqual(
            [(route.message.payload, route.message.number) for route in self.sent()],
            [("two", 1), ("three", 2)],
        )

    def test_what_may_have_been_accepted_is_not_given_up_as_busy(self) -> None:
        self.log_in()
        self.post("one")
        self.core.closed(self.now, "died")
        self.connect()
        (route,) = self.sent()
        until = self.now + 20
        while self.now < until:
            self.refuse(route, pb.BUSY)
            again: list[pb.Route] = []
            while not again and self.now < until:
                self.wait()
                self.answer(pb.Route(id=0, path=pb.Route.PING))
                again = [one for one in self.sent() if one.HasField("message")]
            route = again[0] if again else route
        self.assertNotIn(Busy, self.settled().values())

    def test_a_server_that_knows_of_no_log_in_is_left(self) -> None:
        self.log_in()
        self.refuse(self.post("one")[0], pb.NOT_LOGGED_IN)
        self.connect()
        self.assertEqual([route.message.number for route in self.sent()], [1])

    def test_requests_that_read_are_asked_again_and_others_are_unknown(self) -> None:
        self.log_in()
        for ticket, reads in (("read", True), ("write", False)):
            who = pb.Route(path=pb.Route.USER, who=pb.WhoRequest(users=["ann"]))
            self.core.request(self.now, ticket, who, reads=reads)
        self.assertEqual(len(self.sent()), 2)
        self.core.closed(self.now, "died")
        self.connect()
        (route,) = self.sent()
        self.accept(route)
        self.assertEqual(self.settled(), {"log-in": None, "read": None, "write": Unknown})


class Connecting(Play):
    def test_all_servers_are_tried_at_once_and_then_after_growing_pauses(self) -> None:
        self.core.log_in(self.now, "log-in")
        tried, pauses = [], []
        for _ in range(10):
            (action,) = self.core.take_actions()
            assert isinstance(action, Connect)
            tried.append(action.server.host)
            self.core.closed(self.now, "refused")
            if self.core.phase is Phase.WAITING:
                before = self.now
                self.wait()
                pauses.append(self.now - before)
        self.assertEqual(tried, ["one", "two"] * 5)
        self.assertTrue(all(0.5 < later / (earlier * 2) < 2 for earlier, later in zip(pauses, pauses[1:])))

    def test_a_connection_that_does_not_come_about_is_given_up(self) -> None:
        self.core.log_in(self.now, "log-in")
        self.core.take_actions()
        self.wait()
        self.assertEqual(self.core.take_actions(), [Disconnect(), Connect(SERVERS[1])])
        self.assertLess(self.now, 101.5)

    def test_a_silent_server_is_asked_and_then_left_unless_the_host_does_not_read(self) -> None:
        self.log_in()
        self.sent()
        self.core.watch(self.now, False)
        self.assertIsNone(self.core.deadline())
        self.core.watch(self.now, True)
        start, pings = self.now, 0
        while not self.core.take_actions():
            self.wait()
            pings += sum(route.path == pb.Route.PING for route in self.sent())
        self.assertEqual(pings, 2)
        self.assertAlmostEqual(self.now - start, 1.2)
        self.assertTrue(any(isinstance(event, Down) for event in self.events))

    def test_a_server_that_answers_is_not_left(self) -> None:
        self.log_in()
        self.sent()
        until = self.now + 60
        while self.now < until:
            self.wait()
            for route in self.sent():
                self.accept(route)
        self.assertEqual(self.core.take_actions(), [])
        self.assertIs(self.core.phase, Phase.READY)

    def test_discovery_is_asked_again_until_it_answers(self) -> None:
        target = Address("here", 8888)
        self.start(Settings("bob", "secret", discovery=(target,), group_tag="here", secret="hush"))
        self.core.log_in(self.now, "log-in")
        for _ in range(3):
            self.assertEqual(self.core.take_actions(), [Discover((target,))])
            self.wait()
        self.core.take_actions()
        packet = pb.NetworkDiscoveryPacket(
            mode=pb.NetworkDiscoveryPacket.RESPONSE,
            sender=pb.NetworkDiscoveryPacket.INTERNAL_SERVER_NODE,
            groupTag="elsewhere",
            nodeAddress="one",
            nodePort=1,
            secret="",
        )
        route = pb.Route(id=1, path=pb.Route.NETWORK_DISCOVERY, networkDiscoveryPacket=packet)
        for noise in (b"", b"\xff\xff", frame(route), route.SerializeToString()):
            self.core.datagram(self.now, noise)
            self.assertEqual(self.core.take_actions(), [])
        route.networkDiscoveryPacket.groupTag = "here"
        self.core.datagram(self.now, route.SerializeToString())
        self.assertEqual(self.core.take_actions(), [Connect(Address("one", 1))])

    def test_servers_that_are_named_are_tried_too_when_one_dies(self) -> None:
        self.core.log_in(self.now, "log-in")
        self.core.take_actions()
        self.core.connected(self.now)
        (route,) = self.sent()
        answer = pb.Route(id=route.id, path=pb.Route.RESPONSE)
        answer.response.success = True
        answer.welcome.servers.extend(["one:1", "three:3", "nonsense"])
        self.answer(answer)
        hosts = []
        for _ in range(2):
            self.core.closed(self.now, "died")
            (action,) = self.core.take_actions()
            assert isinstance(action, Connect)
            hosts.append(action.server.host)
        self.assertEqual(hosts, ["three", "two"])

    def test_servers_that_cannot_be_used_are_tried_once_and_others_are_still_found(self) -> None:
        self.core.log_in(self.now, "log-in")
        self.core.post(self.now, "post", "ann", "hello", False)
        error = Untrusted("not to be believed")
        self.assertEqual(self.core.take_actions(), [Connect(SERVERS[0])])
        self.core.refused(self.now, error)
        self.assertEqual(self.core.take_actions(), [Connect(SERVERS[1])])
        # As long as one of them could be used, there is something to wait for.
        self.core.closed(self.now, "nobody is there")
        self.assertEqual((self.core.take_actions(), self.core.phase), ([], Phase.WAITING))
        self.wait()
        for server in SERVERS:
            self.assertEqual(self.core.take_actions(), [Connect(server)])
            self.core.refused(self.now, error)
        self.assertEqual((self.core.take_actions(), self.core.deadline()), ([], None))
        self.assertEqual(self.settled(), {"log-in": Untrusted, "post": Untrusted})
        self.assertIn(Stopped(error), self.events)
        # Asked again, it tries again.
        self.core.log_in(self.now, "again")
        self.assertEqual(self.core.take_actions(), [Connect(SERVERS[0])])
        self.core.connected(self.now)
        self.sent()
        alert = b"\x15\x03\x03\0\x02\x02\x46"
        self.core.received(self.now, alert)
        self.assertEqual(self.core.take_actions(), [Disconnect(), Connect(SERVERS[1])])
        self.core.connected(self.now)
        self.sent()
        self.core.received(self.now, alert)
        self.assertEqual(self.core.take_actions(), [Disconnect()])
        self.assertEqual(self.settled()["again"], Unreachable)
        (stopped,) = [
            event for event in self.events if isinstance(event, Stopped) and event.error is not error
        ]
        self.assertIn("two:2: the server speaks TLS", str(stopped.error))

    def test_what_is_no_route_ends_the_connection(self) -> None:
        for noise in (b"\0\0\0\1\xff", b"\xff\xff\xff\xff"):
            self.start()
            self.log_in()
            self.core.received(self.now, noise)
            self.assertEqual(self.core.take_actions(), [Disconnect(), Connect(SERVERS[1])])


class Wire(unittest.TestCase):
    def test_any_split_of_a_stream_gives_the_same_frames(self) -> None:
        rng = random.Random(1)
        for _ in range(100):
            wanted = [rng.randbytes(rng.choice([0, 1, 3, 300])) for _ in range(rng.randrange(8))]
            stream = b"".join(len(one).to_bytes(4, "big") + one for one in wanted)
            frames, found = Frames(), []
            while stream:
                size = rng.choice([1, 2, 5, 400])
                found += list(frames.cut(stream[:size]))
                stream = stream[size:]
            self.assertEqual(found, wanted)

    def test_a_frame_that_is_too_long_is_refused_after_those_before_it(self) -> None:
        frames = Frames(bytes_max=3)
        found = []
        with self.assertRaises(FrameTooLong):
            for one in frames.cut(b"\0\0\0\1a\0\0\0\4"):
                found.append(one)
        self.assertEqual(found, [b"a"])


if __name__ == "__main__":
    unittest.main()
