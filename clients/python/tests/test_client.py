"""The clients with a chat in this process that misbehaves."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import pathlib
import socket
import ssl
import subprocess
import tempfile
import threading
import unittest
from collections.abc import Iterator
from typing import Callable

from fake import (
    BUSY,
    DROP,
    DROP_AFTER,
    FORGET,
    SILENT,
    UNKNOWN,
    UNKNOWN_DONE,
    FakeChat,
    Hook,
    fake_chat,
    wait_for,
)

import ovid_chat
from ovid_chat import AsyncClient, Client, Happening
from ovid_chat import chat_pb2 as pb


def client(chat: FakeChat, user: str, password: str = "secret", **others: object) -> Client:
    return Client(user, password, chat.addresses, **others)  # type: ignore[arg-type] # Any of its arguments.


def once(step: int, wanted: str) -> Hook:
    """Wants something of one Route: the one that comes after so many others."""
    steps = itertools.count()
    return lambda _, __: wanted if next(steps) == step else None


class Users(unittest.TestCase):
    def test_users_register_and_log_in(self) -> None:
        with fake_chat() as chat, client(chat, "bob") as bob:
            bob.register()
            self.assertEqual(str(bob.server), chat.addresses[0])
            with self.assertRaises(ovid_chat.NameTaken):
                bob.register()
            with client(chat, "bob") as again:
                with self.assertRaises(ovid_chat.NameTaken):
                    again.register()
                again.register(exist_ok=True)

    def test_a_wrong_password_is_told_and_another_try_is_made(self) -> None:
        with fake_chat() as chat:
            chat.users["bob"] = "secret"
            with client(chat, "bob", "guess") as guess:
                for _ in range(2):
                    with self.assertRaises(ovid_chat.WrongPassword):
                        guess.log_in()
                with self.assertRaises(ovid_chat.WrongPassword):
                    guess.send("ann", "hello")
                with self.assertRaises(ovid_chat.NameTaken):
                    guess.register(exist_ok=True)

    def test_a_registration_whose_answer_is_lost_is_found_out(self) -> None:
        for wanted in (DROP, DROP_AFTER, UNKNOWN, UNKNOWN_DONE, BUSY):
            with self.subTest(wanted), fake_chat(2) as chat:
                chat.hook = once(0, wanted)
                with client(chat, "bob") as bob:
                    bob.register()
                    bob.send("bob", "to myself")

    def test_without_a_server_calls_end(self) -> None:
        with fake_chat() as chat:
            chat.kill(0)
            with client(chat, "bob", timeout=0.3) as bob:
                with self.assertRaises(ovid_chat.Unreachable):
                    bob.log_in()
                with self.assertRaises(ovid_chat.Unknown) as caught:
                    bob.send("ann", "hello")
                self.assertFalse(caught.exception.pending.done())
        with self.assertRaises(ovid_chat.Unreachable):
            bob.log_in()


class Messages(unittest.TestCase):
    def setUp(self) -> None:
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.chat = self.stack.enter_context(fake_chat(3))
        self.chat.users.update(ann="secret", bob="secret")

    def client(self, user: str, on_event: Callable[[Happening], None] | None = None) -> Client:
        return self.stack.enter_context(client(self.chat, user, on_event=on_event))

    def test_messages_come_once_in_order_and_count_as_read_by_the_next(self) -> None:
        self.chat.say("ann", "bob", "before")
        ann, bob = self.client("ann"), self.client("bob")
        sent = ann.send("bob", "hello")
        self.assertEqual(sent.position, ovid_chat.Position(1, 2))
        found = bob.messages(timeout=5)
        self.assertEqual([next(found).text, next(found).text], ["before", "hello"])
        wait_for(lambda: self.chat.marks == {("bob", 1): 1})
        ann.send("bob", "more")
        self.assertEqual(next(found).text, "more")
        wait_for(lambda: self.chat.marks == {("bob", 1): 2})

    def test_refusals_are_told_and_the_next_message_goes_on(self) -> None:
        ann = self.client("ann")
        ann.log_in()
        futures = [ann.post(to, "hello") for to in ("bob", "nobody", "bob", "nobody", "bob")]
        for index, future in enumerate(futures):
            if index % 2:
                self.assertIsInstance(future.exception(5), ovid_chat.NotFound)
            else:
                future.result(5)
        with self.assertRaises(ovid_chat.TooLong):
            ann.send("bob", "é" * 501)
        ann.send("bob", "e" * 1000)

    def run_through(self, count: int, texts: list[str] | None = None) -> None:
        """Ann sends and Bob reads, each one once."""
        ann, bob = self.client("ann"), self.client("bob")
        futures = [ann.post("bob", str(number)) for number in range(count)]
        found = bob.messages(timeout=10)
        self.assertEqual([next(found).text for _ in range(count)], [str(number) for number in range(count)])
        for future in futures:
            future.result(10)
        self.assertEqual(self.chat.texts("ann", "bob"), [str(number) for number in range(count)])
        self.assertEqual(list(bob.messages(timeout=0.05)), [])

    def test_a_connection_that_breaks_at_any_step_loses_and_repeats_nothing(self) -> None:
        for wanted in (DROP, DROP_AFTER):
            for step in range(14):
                with self.subTest(wanted=wanted, step=step), fake_chat(3) as self.chat:
                    self.chat.users.update(ann="secret", bob="secret")
                    self.chat.hook = once(step, wanted)
                    self.run_through(5)

    def test_answers_that_ask_for_another_try_lose_and_repeat_nothing(self) -> None:
        for wanted in (BUSY, UNKNOWN, UNKNOWN_DONE):
            with self.subTest(wanted), fake_chat(3) as self.chat:
                self.chat.users.update(ann="secret", bob="secret")
                steps = itertools.count()

                def hook(
                    _: int, route: pb.Route, wanted: str = wanted, steps: Iterator[int] = steps
                ) -> str | None:
                    return wanted if route.HasField("message") and next(steps) % 7 == 3 else None

                self.chat.hook = hook
                self.run_through(40)

    def test_connections_that_break_all_the_time_lose_and_repeat_nothing(self) -> None:
        steps = itertools.count()
        kinds = itertools.cycle([DROP, DROP_AFTER])
        self.chat.hook = lambda _, __: next(kinds) if next(steps) % 9 == 8 else None
        self.run_through(60)

    def test_a_server_that_dies_is_replaced(self) -> None:
        happened: list[Happening] = []
        ann = self.client("ann", on_event=happened.append)
        ann.log_in()
        before = ann.server
        self.chat.kill(self.chat.addresses.index(str(before)))
        ann.send("bob", "still here")
        self.assertNotEqual(ann.server, before)
        self.assertEqual([type(one).__name__ for one in happened[:3]], ["Up", "Down", "Up"])

    def test_a_server_that_falls_silent_is_left(self) -> None:
        ann = self.client("ann")
        ann.log_in()
        self.chat.hook = lambda server, _: SILENT if self.chat.addresses[server] == str(before) else None
        before = ann.server
        ann.send("bob", "still here")
        self.assertNotEqual(ann.server, before)
        self.assertEqual(self.chat.texts("ann", "bob"), ["still here"])

    def test_a_client_that_was_forgotten_goes_on_under_another_name(self) -> None:
        ann = self.client("ann")
        ann.send("bob", "one")
        first = itertools.chain([FORGET], itertools.repeat(None))
        self.chat.hook = lambda _, route: next(first) if route.HasField("message") else None
        ann.send("bob", "two")
        ann.send("bob", "three")
        self.assertEqual(self.chat.texts("ann", "bob"), ["one", "two", "three"])

    def test_a_message_that_is_refused_as_busy_for_long_lets_the_others_pass(self) -> None:
        def hook(_: int, route: pb.Route) -> str | None:
            return BUSY if route.HasField("message") and route.message.payload == "full" else None

        self.chat.hook = hook
        ann = self.client("ann")
        futures = [ann.post("bob", text) for text in ("a", "full", "b", "c")]
        self.assertIsInstance(futures[1].exception(15), ovid_chat.Busy)
        for future in (futures[0], *futures[2:]):
            future.result(5)
        self.assertEqual(self.chat.texts("ann", "bob"), ["a", "b", "c"])

    def test_history_is_read_in_pages(self) -> None:
        for number in range(25):
            self.chat.say("ann", "bob", str(number))
        bob = self.client("bob")
        texts: list[str] = []
        page = bob.history("ann", limit=10)
        while True:
            texts = [one.text for one in page.messages] + texts
            if page.before is None:
                break
            page = bob.history("ann", limit=10, before=page.before)
        self.assertEqual(texts, [str(number) for number in range(25)])
        with self.assertRaises(ovid_chat.NotFound):
            bob.history("nobody")

    def test_conversations_and_presence_are_told(self) -> None:
        self.chat.say("ann", "bob", "hello")
        bob = self.client("bob")
        (conversation,) = bob.conversations()
        self.assertEqual((conversation.name, conversation.unread), ("ann", 1))
        self.assertEqual(bob.who("ann", "bob"), {"ann": False, "bob": True})

    def test_what_was_posted_is_sent_before_the_client_closes(self) -> None:
        with client(self.chat, "ann") as ann:
            for number in range(200):
                ann.post("bob", str(number))
        self.assertEqual(len(self.chat.texts("ann", "bob")), 200)

    def test_what_was_read_is_stored_before_the_client_closes(self) -> None:
        for number in range(20):
            self.chat.say("ann", "bob", str(number))
        for read in (5, 12):
            with client(self.chat, "bob") as bob:
                found = bob.messages()
                while (message := next(found)).text != str(read):
                    pass
                bob.acknowledge(message)
            self.assertEqual(self.chat.marks, {("bob", 1): read + 1})

    def test_a_token_that_has_expired_is_replaced_by_the_password(self) -> None:
        ann = self.client("ann")
        ann.log_in()

        def hook(_: int, route: pb.Route) -> str | None:
            if route.login.token:
                route.login.token = b"expired"
            return None

        self.chat.hook = hook
        self.chat.drop(self.chat.addresses.index(str(ann.server)))
        ann.send("bob", "hello")
        tokens = [route.login.token for route in self.chat.routes if route.HasField("login")]
        self.assertEqual(tokens, [b"", b"expired", b""])


class Moving(unittest.TestCase):
    def test_a_user_who_moves_sees_each_message_once_and_each_cluster_learns_what_was_read(self) -> None:
        with fake_chat() as east, fake_chat() as west:
            for chat, tag in ((east, "east"), (west, "west")):
                chat.tag, chat.identity = tag, tag.encode()
                chat.users.update(ann="secret", bob="secret", cat="secret")
            # So that the conversations of the same number are not the same.
            west.say("cat", "bob", "west 1")
            west.hook = lambda _, __: DROP
            with Client("bob", "secret", [*east.addresses, *west.addresses]) as bob:
                found = bob.messages(timeout=10)
                for number in range(3):
                    east.say("ann", "bob", f"east {number}")
                self.assertEqual([next(found).text for _ in range(3)], ["east 0", "east 1", "east 2"])
                wait_for(lambda: east.marks == {("bob", 1): 2})

                def move(left: FakeChat, entered: FakeChat) -> None:
                    left.hook, entered.hook = (lambda _, __: DROP), (lambda _, __: None)
                    left.drop(0)
                    wait_for(lambda: any(one.user == "bob" for one in entered.sessions))

                # Nobody has read what the user looks at, the last of them.
                west.fetch(east, "bob")
                east.say("ann", "bob", "east 3")
                move(east, west)
                west.fetch(east, "bob")
                self.assertEqual({next(found).text, next(found).text}, {"west 1", "east 3"})
                west.say("cat", "bob", "west 2")
                self.assertEqual(next(found).text, "west 2")
                wait_for(lambda: west.marks == {("bob", 1): 1, ("bob", 2): 4})
                self.assertEqual(east.marks, {("bob", 1): 2})
                move(west, east)
                wait_for(lambda: east.marks == {("bob", 1): 4})
                east.say("ann", "bob", "east 4")
                self.assertEqual(next(found).text, "east 4")
                self.assertEqual(west.marks, {("bob", 1): 1, ("bob", 2): 4})
            self.assertEqual(east.marks, {("bob", 1): 4})


class Asyncio(unittest.TestCase):
    def test_a_conversation(self) -> None:
        async def run(chat: FakeChat) -> list[str]:
            ann = AsyncClient("ann", "secret", chat.addresses)
            bob = AsyncClient("bob", "secret", chat.addresses)
            async with ann, bob:
                await ann.register()
                await bob.register()
                await asyncio.gather(*(ann.send("bob", str(number)) for number in range(20)))
                chat.drop(0)
                texts = []
                async for message in bob.messages():
                    texts.append(message.text)
                    if len(texts) == 20:
                        return texts
            raise AssertionError("it ended too early")

        with fake_chat() as chat:
            self.assertEqual(asyncio.run(run(chat)), [str(number) for number in range(20)])


class Ways(unittest.TestCase):
    def test_discovery_finds_a_server(self) -> None:
        with fake_chat() as chat, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
            chat.users["ann"] = "secret"
            listener.bind(("127.0.0.1", 0))
            asked: list[pb.NetworkDiscoveryPacket] = []

            def answer() -> None:
                listener.recvfrom(65536)  # Datagrams get lost.
                data, source = listener.recvfrom(65536)
                asked.append(pb.Route.FromString(data).networkDiscoveryPacket)
                host, port = chat.addresses[0].split(":")
                route = pb.Route(id=1, path=pb.Route.NETWORK_DISCOVERY)
                packet = pb.NetworkDiscoveryPacket(
                    mode=pb.NetworkDiscoveryPacket.RESPONSE,
                    sender=pb.NetworkDiscoveryPacket.INTERNAL_SERVER_NODE,
                    groupTag="here",
                    nodeAddress=host,
                    nodePort=int(port),
                    secret="",
                )
                route.networkDiscoveryPacket.CopyFrom(packet)
                listener.sendto(route.SerializeToString(), source)

            thread = threading.Thread(target=answer, daemon=True)
            thread.start()
            target = f"127.0.0.1:{listener.getsockname()[1]}"
            with Client("ann", "secret", discovery=[target], group_tag="here", secret="hush") as ann:
                ann.log_in()
            thread.join()
            (packet,) = asked
            self.assertEqual((packet.groupTag, packet.secret), ("here", "hush"))
            self.assertEqual(packet.sender, pb.NetworkDiscoveryPacket.END_USER_CLIENT)

    def test_addresses_are_read_or_refused(self) -> None:
        self.assertEqual(str(ovid_chat.Address.parse("[::1]:4001")), "[::1]:4001")
        for text in ("", "host", "host:", ":1", "host:0", "host:65536", "host:x"):
            with self.assertRaises(ValueError):
                ovid_chat.Address.parse(text)
        with self.assertRaises(ValueError):
            Client("ann", "secret")


class Encryption(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def certificate(self, name: str) -> tuple[pathlib.Path, ssl.SSLContext]:
        """A certificate that is its own authority, and what shows it."""
        key, certificate = self.folder / f"{name}-key.pem", self.folder / f"{name}.pem"
        options = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
        names = ["-addext", f"subjectAltName={name}"]
        files = ["-keyout", str(key), "-out", str(certificate)]
        subprocess.run(["openssl", "req", *options.split(), *names, *files], check=True, capture_output=True)
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(certificate, key)
        return certificate, server

    def test_connections_are_encrypted_if_wanted(self) -> None:
        certificate, server = self.certificate("IP:127.0.0.1")
        with fake_chat(tls=server) as chat:
            for tls in (certificate, str(certificate), ssl.create_default_context(cafile=str(certificate))):
                with client(chat, "ann", tls=tls) as ann:
                    ann.register(exist_ok=True)
                    ann.send("ann", "hush")

    def test_whom_the_client_does_not_believe_it_does_not_try_again(self) -> None:
        _, server = self.certificate("IP:127.0.0.1")
        other, _ = self.certificate("IP:127.0.0.2")
        happened: list[Happening] = []
        with fake_chat(2, tls=server) as chat:
            # Far longer than this test may take.
            with client(chat, "ann", tls=other, timeout=60, on_event=happened.append) as ann:
                with self.assertRaisesRegex(
                    ovid_chat.Untrusted, "certificate.*was the right authority given"
                ):
                    ann.register()
                with self.assertRaises(ovid_chat.Untrusted):
                    ann.send("ann", "hush")
                with self.assertRaises(ovid_chat.Untrusted):
                    next(ann.messages())
            self.assertEqual(chat.routes, [])
        self.assertEqual([type(event) for event in happened], [ovid_chat.Stopped] * 3)

    def test_certificates_have_to_name_the_server(self) -> None:
        certificate, server = self.certificate("DNS:chat.example.org")
        with fake_chat(tls=server) as chat:
            nameless = client(chat, "ann", tls=certificate, timeout=60)
            wrong = self.assertRaisesRegex(ovid_chat.Untrusted, "IP address mismatch.*--tls-name")
            with nameless as ann, wrong:
                ann.register()
            with client(chat, "ann", tls=certificate, tls_name="chat.example.org") as ann:
                ann.register()
            named = client(chat, "ann", tls=certificate, tls_name="example.org", timeout=60)
            wrong = self.assertRaisesRegex(ovid_chat.Untrusted, "[Hh]ostname mismatch")
            with named as ann, wrong:
                ann.log_in()

    def test_who_reads_learns_that_no_server_is_believed_any_more(self) -> None:
        certificate, server = self.certificate("IP:127.0.0.1")
        _, another = self.certificate("IP:127.0.0.3")
        with fake_chat(2, tls=server) as chat, client(chat, "ann", tls=certificate) as ann:
            ann.register()
            ann.send("ann", "hush")
            found = ann.messages(timeout=60)
            self.assertEqual(next(found).text, "hush")
            chat.tls = another
            for number in range(2):
                chat.drop(number)
            with self.assertRaises(ovid_chat.Untrusted):
                next(found)

    def test_both_ends_have_to_encrypt(self) -> None:
        certificate, _ = self.certificate("IP:127.0.0.1")
        told = self.assertRaisesRegex(ovid_chat.Unreachable, "does the server speak TLS")
        with fake_chat() as chat, client(chat, "ann", tls=certificate, timeout=2) as ann, told:
            ann.register()

    def test_files_that_are_of_no_use_are_told(self) -> None:
        (self.folder / "empty.pem").write_text("")
        missing = "cannot read the authority .*nothing.pem: No such file"
        for name, what in (("nothing.pem", missing), ("empty.pem", "no certificate")):
            with self.assertRaisesRegex(ValueError, what):
                Client("ann", "secret", ["127.0.0.1:1"], tls=self.folder / name)


if __name__ == "__main__":
    unittest.main()
