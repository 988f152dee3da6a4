"""The terminal's commands, with a chat in this process; and the program itself, with plain lines."""

from __future__ import annotations

import asyncio
import unittest
import unittest.mock
from collections.abc import Awaitable, Callable, Sequence

from fake import BUSY, DROP, FakeChat, fake_chat, wait_for
from program import run_program

from ovid_chat import AsyncClient, Message, Position, Read
from ovid_chat.lines import clean
from ovid_chat.model import Sent
from ovid_chat.talk import Quit, Room, Talk


class Commands(unittest.TestCase):
    def run_talk(
        self,
        chat: FakeChat,
        what: Callable[[Talk, list[str]], Awaitable[None]],
        pending_after_s: float = 60,
        servers: Sequence[str] = (),
    ) -> list[str]:
        """Bob's terminal: what it said."""
        said: list[str] = []

        async def run() -> None:
            client = AsyncClient("bob", "secret", servers or chat.addresses, echo=True, timeout=5)
            talk = Talk(client, said.append, pending_after_s)
            async with client:
                await client.register(exist_ok=True)
                await talk.begin()
                await what(talk, said)
                await talk.end()

        asyncio.run(run())
        return [line.split("] ", 1)[-1] for line in said]

    async def until(self, what: Callable[[], bool]) -> None:
        """Waits while the loop goes on."""
        await asyncio.get_running_loop().run_in_executor(None, wait_for, what)

    def test_what_is_unread_waits_until_its_conversation_is_opened(self) -> None:
        with fake_chat() as chat:
            chat.users.update(ann="secret", bob="secret")
            for number in range(15):
                chat.say("ann", "bob", f"old {number}")
            chat.marks[("bob", 1)] = 13

            async def what(talk: Talk, said: list[str]) -> None:
                await self.until(lambda: "unread: ann (2)" in talk.status())
                self.assertEqual(chat.marks, {("bob", 1): 13})
                await talk.line("/msg ann")
                await self.until(lambda: chat.marks == {("bob", 1): 15})
                chat.say("ann", "bob", "new")
                await self.until(lambda: chat.marks == {("bob", 1): 16})
                await talk.line("/history 2")
                await talk.line("/history")
                await talk.line("/history")

            said = self.run_talk(chat, what)
        first = said.index("* -- ann --")
        opened = [*(f"ann: old {number}" for number in range(3, 13)), "* -- unread (2) --"]
        new = ["ann: old 13", "ann: old 14", "ann: new"]
        older = [f"ann: old {number}" for number in (1, 2, 0)]
        self.assertEqual(said[first + 1 :], [*opened, *new, *older, "* there is nothing older"])
        self.assertTrue(said[0].startswith("* ann: "))

    def test_own_messages_are_shown_when_they_are_accepted(self) -> None:
        with fake_chat() as chat:
            chat.users.update(ann="secret", bob="secret")

            async def what(talk: Talk, said: list[str]) -> None:
                await talk.line("hello?")
                await talk.line("/msg ann")
                await talk.line("  hello ")
                await talk.line("/msg nobody are you there")
                await self.until(lambda: any("nobody" in line for line in said))

            said = self.run_talk(chat, what)
            self.assertEqual(chat.texts("ann", "bob"), ["hello"])
        self.assertIn("* no conversation is open: /msg NAME or /join NAME opens one", said)
        self.assertEqual(said[-2], "me: hello ✓")
        self.assertIn("not sent (to nobody): are you there", said[-1])

    def test_who_writes_to_somebody_first_sees_the_answer(self) -> None:
        with fake_chat() as chat:
            chat.users.update(ann="secret", bob="secret", cat="secret")

            async def what(talk: Talk, said: list[str]) -> None:
                await talk.line("/msg ann hello")
                await self.until(lambda: any("hello" in line for line in said))
                chat.say("ann", "bob", "an answer")
                await self.until(lambda: chat.marks == {("bob", 1): 2})
                # What is open stays open.
                await talk.line("/msg cat hello")
                await self.until(lambda: any("to cat" in line for line in said))
                self.assertEqual(talk.prompt(), "bob > ann: ")

            said = self.run_talk(chat, what)
        self.assertEqual(said[1:], ["* -- ann --", "me: hello ✓", "ann: an answer", "me: hello (to cat) ✓"])

    def test_an_answer_stands_below_what_it_answers(self) -> None:
        with fake_chat() as chat:
            chat.users.update(ann="secret", bob="secret")

            async def what(talk: Talk, said: list[str]) -> None:
                await talk.line("/msg ann")
                accepted: asyncio.Future[Sent] = asyncio.get_running_loop().create_future()
                with unittest.mock.patch.object(talk._client, "post", lambda *_, **__: accepted):
                    await talk.line("question")
                # Both come with one read.
                accepted.set_result(Sent(None, None))
                talk._on_message(Message("ann", "answer", "bob"))
                self.assertEqual(
                    [line.split("] ")[-1] for line in said[-2:]], ["me: question ✓", "ann: answer"]
                )

            said = self.run_talk(chat, what)
        self.assertEqual(said.count("me: question ✓"), 1)

    def test_own_messages_that_take_long_are_shown_as_pending(self) -> None:
        with fake_chat() as chat:
            chat.users.update(ann="secret", bob="secret")
            wanted: str | None = BUSY
            chat.hook = lambda _, route: wanted if route.HasField("message") else None

            async def what(talk: Talk, said: list[str]) -> None:
                nonlocal wanted
                await talk.line("/msg bob")
                await talk.line("/msg ann slow")
                await self.until(lambda: any("slow" in line for line in said))
                self.assertIn("1 pending", talk.status())
                wanted = None
                await self.until(lambda: "  ✓ slow" in said)

            said = self.run_talk(chat, what, pending_after_s=0.01)
        self.assertEqual(said[-2:], ["me: slow (to ann) …", "  ✓ slow"])

    def test_a_server_that_is_lost_is_told(self) -> None:
        with fake_chat(2) as chat:

            async def what(talk: Talk, said: list[str]) -> None:
                chat.kill(0)
                await self.until(lambda: any("now" in line for line in said))

            said = self.run_talk(chat, what)
        self.assertIn(f"* lost the server {chat.addresses[0]}", said[-2])
        self.assertEqual(said[-1], f"* on the server {chat.addresses[1]} now")

    def test_who_moves_to_another_cluster_is_shown_its_past_and_what_waits(self) -> None:
        with fake_chat() as east, fake_chat() as west:
            for chat, tag in ((east, "east"), (west, "west")):
                chat.tag, chat.identity = tag, tag.encode()
                chat.users.update(ann="secret", bob="secret", cat="secret")
            for number in range(3):
                west.say("ann", "bob", f"west {number}")
            west.marks[("bob", 1)] = 3
            west.hook = lambda _, __: DROP

            async def what(talk: Talk, said: list[str]) -> None:
                # Nothing was said there yet.
                await talk.line("/msg ann")
                await talk.line("/msg cat")
                await talk.line("hello")
                await self.until(lambda: "me: hello ✓" in (line.split("] ")[-1] for line in said))
                east.say("ann", "bob", "east")
                await self.until(lambda: "unread: ann (1)" in talk.status())
                (own,) = [known.own for known in talk._known.values() if known.own]
                west.hook, east.hook = (lambda _, __: None), (lambda _, __: DROP)
                east.drop(0)
                await self.until(lambda: f"* on the server {west.addresses[0]} now" in said)
                talk.room = Room("cat", False)
                talk._on_event(Read("cat", Position(own.conversation, own.sequence, b"west")))
                await talk.line("/msg ann")
                talk.room = Room("cat", False)
                talk._on_event(Read("cat", own))

            said = self.run_talk(east, what, servers=[*east.addresses, *west.addresses])
            self.assertEqual(east.marks, {})
            self.assertEqual(west.marks, {("bob", 1): 3})
        first = len(said) - 1 - said[::-1].index("* -- ann --")
        older = [f"ann: west {number}" for number in range(3)]
        self.assertEqual(said[first + 1 :], [*older, "* -- unread (1) --", "ann: east", "* cat has read it"])
        self.assertNotIn("* cat has read it", said[:first])

    def test_commands_and_names_are_completed(self) -> None:
        with fake_chat() as chat:
            chat.users.update(ann="secret", anton="secret", bob="secret")
            chat.say("ann", "bob", "hello")

            async def what(talk: Talk, _: list[str]) -> None:
                await talk.line("/who")
                self.assertEqual(talk.completions("/h"), ["/history", "/help"])
                self.assertEqual(talk.completions("/msg an"), ["ann", "anton"])
                self.assertEqual(talk.completions("/msg ann an"), [])
                self.assertEqual(talk.completions("h"), [])
                await talk.line("/what")
                with self.assertRaises(Quit):
                    await talk.line("/quit")

            said = self.run_talk(chat, what)
        self.assertEqual(said[-4:-1], ["  ○ ann", "  ○ anton", "  ● bob"])
        self.assertEqual(said[-1], "* there is no /what: /help tells what there is")

    def test_what_others_write_cannot_steer_the_terminal(self) -> None:
        self.assertEqual(clean("a\x1b[2J\n\u202eb é 🦊"), "a�[2J��b é 🦊")

        async def what(talk: Talk, said: list[str]) -> None:
            await talk.line("/msg ann")
            chat.say("ann", "bob", "\x1b[2J")
            await self.until(lambda: any("ann: " in line for line in said))

        with fake_chat() as chat:
            chat.users.update(ann="secret", bob="secret")
            self.assertEqual(self.run_talk(chat, what)[-1], "ann: �[2J")

    def test_rooms_tell_foreign_users_from_others(self) -> None:
        talk = Talk(AsyncClient("bob", "secret", ["127.0.0.1:1"]), print)
        foreign = Message("bob", "hello", "bob", cluster="elsewhere")
        self.assertEqual(str(talk._room_of(foreign)), "bob@elsewhere")
        self.assertEqual(str(talk._room_of(Message("bob", "hello", "ann"))), "ann")
        self.assertEqual(str(talk._room_of(Message("ann", "hello", "team", True))), "#team")


class Program(unittest.TestCase):
    def test_lines_come_from_standard_input(self) -> None:
        with fake_chat() as chat:
            chat.users["ann"] = "secret"
            refused = run_program("bob", chat.addresses)
            self.assertEqual(refused.returncode, 1)
            self.assertIn("--register", refused.stderr)
            lines = "/msg ann\nhello\n/msg ann more\n"
            done = run_program("bob", chat.addresses, "--register", lines=lines)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertEqual(chat.texts("ann", "bob"), ["hello", "more"])
        self.assertIn("more", done.stdout)

    def test_mistakes_in_options_are_told(self) -> None:
        with fake_chat() as chat:
            done = run_program("bob", [*chat.addresses, "nonsense"])
        self.assertEqual(done.returncode, 2)
        self.assertIn("'nonsense' is no address", done.stderr)


if __name__ == "__main__":
    unittest.main()
