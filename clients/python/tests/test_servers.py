"""The clients with real servers, which are killed and frozen meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import subprocess
import tempfile
import threading
import time
import unittest

from fake import wait_for
from program import ENVIRONMENT, command, run_program
from real import OVID_BIN, SECRET, Servers, needs_servers

import ovid_chat
from ovid_chat import AsyncClient, Client, Happening

TIMEOUT_S = 30
"""For machines that have much else to do."""


@needs_servers
class Real(unittest.TestCase):
    servers: Servers

    @classmethod
    def setUpClass(cls) -> None:
        cls.servers = Servers()
        cls.addClassCleanup(cls.servers.close)

    def setUp(self) -> None:
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.happened: dict[str, list[Happening]] = {}

    def tearDown(self) -> None:
        for number in range(len(self.servers.addresses)):
            if number not in self.servers._processes:
                self.servers.start(number)

    def client(self, user: str, password: str = "secret") -> Client:
        happened = self.happened.setdefault(user, [])
        chat = Client(user, password, self.servers.addresses, timeout=TIMEOUT_S, on_event=happened.append)
        return self.stack.enter_context(chat)

    def user(self, user: str) -> Client:
        chat = self.client(user)
        chat.register(exist_ok=True)
        return chat


class Users(Real):
    def test_users_register_log_in_and_leave(self) -> None:
        bob = self.user("bob-1")
        with self.assertRaises(ovid_chat.NameTaken):
            self.client("bob-1", "another").register()
        with self.assertRaises(ovid_chat.WrongPassword):
            self.client("bob-1", "guess").log_in()
        with self.assertRaises(ovid_chat.WrongPassword):
            self.client("nobody-1").log_in()
        with self.assertRaises(ovid_chat.NotFound):
            bob.send("nobody-1", "hello")
        bob.send("bob-1", "to myself")

    def test_presence_is_told(self) -> None:
        ann, bob = self.user("ann-2"), self.user("bob-2")
        ann.send("bob-2", "hello")
        self.assertEqual(bob.who("ann-2"), {"ann-2": True})
        with self.client("cat-2") as cat:
            cat.register(exist_ok=True)
            cat.send("bob-2", "hello")
            wait_for(lambda: ovid_chat.Online("cat-2", True) in self.happened["bob-2"], TIMEOUT_S)
        wait_for(lambda: ovid_chat.Online("cat-2", False) in self.happened["bob-2"], TIMEOUT_S)
        self.assertEqual(bob.who("cat-2"), {"cat-2": False})


class Messages(Real):
    def test_what_was_missed_comes_and_what_was_read_does_not(self) -> None:
        ann = self.user("ann-3")
        with self.client("bob-3") as bob:
            bob.register(exist_ok=True)
        texts = [f"message {number}" for number in range(300)]
        for future in [ann.post("bob-3", text) for text in texts]:
            future.result(TIMEOUT_S)
        with self.client("bob-3") as bob:
            found = bob.messages(timeout=TIMEOUT_S)
            self.assertEqual([next(found).text for _ in range(100)], texts[:100])
        # The 100th was not followed by another one that was asked for.
        with self.client("bob-3") as bob:
            (conversation,) = bob.conversations()
            wait_for(lambda: bob.conversations()[0].read >= 99, TIMEOUT_S)
            self.assertEqual((conversation.name, conversation.last), ("ann-3", 300))
        with self.client("bob-3") as bob:
            found = bob.messages(timeout=TIMEOUT_S)
            self.assertEqual([next(found).text for _ in range(201)], texts[99:])
            self.assertEqual([one.text for one in bob.messages(timeout=0.2)], [])

    def test_history_is_read_in_pages_and_by_time(self) -> None:
        ann, bob = self.user("ann-4"), self.user("bob-4")
        times = []
        for number in range(45):
            sent = ann.send("bob-4", str(number))
            times.append(sent.time)
            time.sleep(0.002)  # Times are in milliseconds.
        texts: list[str] = []
        before = None
        while True:
            page = bob.history("ann-4", limit=10, before=before)
            texts = [one.text for one in page.messages] + texts
            before = page.before
            if before is None:
                break
        self.assertEqual(texts, [str(number) for number in range(45)])
        since = times[40]
        assert since is not None, "servers tell when they accepted a message"
        found = bob.history("ann-4", since=since, until=since + datetime.timedelta(seconds=TIMEOUT_S))
        self.assertEqual([one.text for one in found.messages], [str(number) for number in range(40, 45)])

    def test_groups_live_and_strangers_are_kept_out(self) -> None:
        ann, bob, cat = self.user("ann-5"), self.user("bob-5"), self.user("cat-5")
        ann.create_group("team-5")
        with self.assertRaises(ovid_chat.NameTaken):
            bob.create_group("team-5")
        ann.add_to_group("team-5", "bob-5")
        ann.send("team-5", "hello", group=True)
        message = next(bob.messages(timeout=TIMEOUT_S))
        self.assertEqual((message.text, message.to, message.is_group), ("hello", "team-5", True))
        for ask in (
            lambda: cat.send("team-5", "let me in", group=True),
            lambda: cat.history("team-5", group=True),
            lambda: cat.add_to_group("team-5", "cat-5"),
        ):
            with self.assertRaises((ovid_chat.Forbidden, ovid_chat.NotFound)):
                ask()
        (group,) = [one for one in bob.conversations() if one.is_group]
        self.assertEqual((group.name, group.members), ("team-5", ("ann-5", "bob-5")))
        bob.leave_group("team-5")
        with self.assertRaises((ovid_chat.Forbidden, ovid_chat.NotFound)):
            bob.send("team-5", "still here?", group=True)
        self.assertEqual([one for one in bob.conversations() if one.is_group], [])

    def test_asyncio(self) -> None:
        async def run() -> list[str]:
            async with contextlib.AsyncExitStack() as stack:
                ann, bob = [
                    await stack.enter_async_context(
                        AsyncClient(user, "secret", self.servers.addresses, timeout=TIMEOUT_S)
                    )
                    for user in ("ann-6", "bob-6")
                ]
                await asyncio.gather(ann.register(exist_ok=True), bob.register(exist_ok=True))
                await asyncio.gather(*(ann.send("bob-6", str(number)) for number in range(500)))
                texts: list[str] = []
                async for message in bob.messages():
                    texts.append(message.text)
                    if len(texts) == 500:
                        break
                return texts

        self.assertEqual(asyncio.run(run()), [str(number) for number in range(500)])


class Faults(Real):
    def exchange(self, ann: Client, bob: Client, count: int, at: int, fault: object) -> float:
        """Ann sends and bob reads, each message once; after some of them something happens. The longest send, in
        seconds."""
        got: list[str] = []

        def read() -> None:
            for message in bob.messages(timeout=TIMEOUT_S):
                got.append(message.text)
                if len(got) == count:
                    return

        thread = threading.Thread(target=read)
        thread.start()
        longest = 0.0
        for number in range(count):
            if number == at:
                assert callable(fault)
                fault()
            start = time.monotonic()
            ann.send(bob.user, str(number))
            longest = max(longest, time.monotonic() - start)
        thread.join()
        self.assertEqual(got, [str(number) for number in range(count)])
        page = bob.history(ann.user, limit=count)
        self.assertEqual(len({one.position for one in page.messages}), len(page.messages))
        return longest

    def test_each_server_in_turn_is_killed_under_its_clients(self) -> None:
        for turn in range(3):
            ann, bob = self.user(f"ann-7-{turn}"), self.user(f"bob-7-{turn}")
            before = self.servers.number(ann.server)
            self.exchange(ann, bob, 150, 50, lambda before=before: self.servers.kill(before))
            self.assertNotEqual(self.servers.number(ann.server), before)
            self.servers.start(before)

    def test_a_server_that_freezes_under_its_client_is_left(self) -> None:
        ann, bob = self.user("ann-8"), self.user("bob-8")
        before = self.servers.number(ann.server)
        self.addCleanup(self.servers.freeze, before, False)
        self.exchange(ann, bob, 100, 50, lambda: self.servers.freeze(before, True))
        self.assertNotEqual(self.servers.number(ann.server), before)

    def test_many_under_way_survive_a_kill_in_order(self) -> None:
        ann, bob = self.user("ann-9"), self.user("bob-9")
        texts = [str(number) for number in range(3000)]
        futures = [ann.post("bob-9", text) for text in texts]
        futures[500].result(TIMEOUT_S)
        self.servers.kill(self.servers.number(ann.server))
        for future in futures:
            future.result(TIMEOUT_S)
        found = bob.messages(timeout=TIMEOUT_S)
        self.assertEqual([next(found).text for _ in texts], texts)
        self.assertEqual([one.text for one in bob.messages(timeout=0.2)], [])

    def test_the_terminal_goes_on_over_the_death_of_its_server(self) -> None:
        self.user("ann-10")
        terminal = subprocess.Popen(
            command("bob-10", self.servers.addresses, "--register"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=ENVIRONMENT,
            encoding="utf-8",
        )
        self.addCleanup(terminal.kill)
        assert terminal.stdin is not None
        assert terminal.stdout is not None
        said: list[str] = []

        def until(words: str) -> str:
            assert terminal.stdout is not None
            for line in terminal.stdout:
                said.append(line)
                if words in line:
                    return line
            raise AssertionError(f"{words!r} does not come: {said}")

        server = until("on the server").split("server ")[1].split(";")[0]
        terminal.stdin.write("/msg ann-10\nbefore\n")
        terminal.stdin.flush()
        until("before")
        self.servers.kill(self.servers.number(server))
        until("lost the server")
        until("now")
        terminal.stdin.write("after\n/quit\n")
        terminal.stdin.close()
        until("after")
        self.assertEqual(terminal.wait(TIMEOUT_S), 0)
        terminal.stdout.close()
        ann = self.user("ann-10")
        self.assertEqual([one.text for one in ann.history("bob-10").messages], ["before", "after"])


class Discovery(Real):
    def test_the_leader_names_servers_and_so_does_the_next_one(self) -> None:
        def ask(user: str) -> str:
            target = [self.servers.discovery]
            with Client(
                user, "secret", discovery=target, group_tag="here", secret=SECRET, timeout=TIMEOUT_S
            ) as chat:
                chat.register(exist_ok=True)
                return str(chat.server)

        found: set[str] = set()

        def all_are_named() -> bool:
            found.add(ask("ann-11"))
            return found == set(self.servers.addresses)

        # A server that has just started is named once the leader knows of it.
        wait_for(all_are_named, TIMEOUT_S)
        for number in range(3):
            self.servers.kill(number)
            self.assertNotEqual(ask("ann-11"), self.servers.addresses[number])
            self.servers.start(number)

    def test_who_does_not_know_the_secret_finds_nothing(self) -> None:
        target = [self.servers.discovery]
        wrong = Client("ann-12", "secret", discovery=target, group_tag="here", secret="guess", timeout=1)
        with wrong, self.assertRaises(ovid_chat.Unreachable):
            wrong.register()


@needs_servers
class Encrypted(unittest.TestCase):
    servers: Servers

    @classmethod
    def setUpClass(cls) -> None:
        cls.servers = Servers(tls=True)
        cls.addClassCleanup(cls.servers.close)

    def client(self, stack: contextlib.ExitStack, user: str, happened: list[Happening]) -> Client:
        servers = self.servers
        chat = Client(
            user,
            "secret",
            servers.addresses,
            tls=servers.authority,
            timeout=TIMEOUT_S,
            on_event=happened.append,
        )
        stack.enter_context(chat).register(exist_ok=True)
        return chat

    def test_a_server_that_dies_is_left_for_another_that_is_believed(self) -> None:
        servers, happened = self.servers, list[Happening]()
        with contextlib.ExitStack() as stack:
            ann, bob = (self.client(stack, user, happened) for user in ("ann", "bob"))
            ann.send("bob", "one")
            number = servers.number(ann.server)
            servers.kill(number)
            ann.send("bob", "two")
            self.assertNotEqual(servers.number(ann.server), number)
            servers.start(number)
            found = bob.messages(timeout=TIMEOUT_S)
            self.assertEqual([next(found).text, next(found).text], ["one", "two"])
        self.assertNotIn(ovid_chat.Stopped, [type(event) for event in happened])

        async def again() -> None:
            async with AsyncClient(
                "ann", "secret", servers.addresses, tls=str(servers.authority), timeout=TIMEOUT_S
            ) as ann:
                page = await ann.history("bob")
                self.assertEqual([one.text for one in page.messages], ["one", "two"])

        asyncio.run(again())

    def test_who_believes_another_authority_or_does_not_encrypt_learns_it_at_once(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([OVID_BIN, "cert", "--out", folder], check=True, stdout=subprocess.DEVNULL)
            authority = f"{folder}/authority.pem"
            with (
                Client("ann", "secret", self.servers.addresses, tls=authority, timeout=600) as ann,
                self.assertRaisesRegex(ovid_chat.Untrusted, "was the right authority given"),
            ):
                ann.log_in()
            done = self.run_program("--ca", authority)
            self.assertEqual(done.returncode, 1)
            self.assertIn("ovid-chat: the certificate of 127.0.0.1:", done.stderr)
        with (
            Client("ann", "secret", self.servers.addresses, timeout=600) as ann,
            self.assertRaisesRegex(ovid_chat.Unreachable, "the server speaks TLS, and this client does not"),
        ):
            ann.log_in()
        done = self.run_program("--ca", "nowhere.pem")
        self.assertEqual(done.returncode, 2)
        self.assertIn("ovid-chat: cannot read the authority nowhere.pem: No such file", done.stderr)

    def test_the_terminal_encrypts(self) -> None:
        done = self.run_program("--ca", str(self.servers.authority), "--register", lines="/msg carl\nhello\n")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("me: hello", done.stdout)

    def run_program(self, *options: str, lines: str = "") -> subprocess.CompletedProcess[str]:
        return run_program("carl", self.servers.addresses[:1], *options, lines=lines)


if __name__ == "__main__":
    unittest.main()
