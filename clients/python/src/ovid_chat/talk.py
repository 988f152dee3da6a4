"""What is said in the terminal: commands, the conversation that is open, what waits in the others. Knows nothing of how
lines are read or shown."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from ovid_chat.aio import AsyncClient
from ovid_chat.errors import ChatError, Forbidden, NameTaken, NotFound
from ovid_chat.lines import clean, clock, now
from ovid_chat.model import Conversation, Down, Happening, Message, Online, Position, Read, Sent, Stopped, Up

SHOWN_AT_FIRST = 10
PENDING_AFTER_S = 0.3
"""A message that takes longer to be accepted is shown as pending."""

HELP = {
    "/msg NAME [TEXT]": "write to somebody or to a group; without a text, or if none is open, open the conversation",
    "/join NAME": "open a group; a name that is free becomes a new group",
    "/create NAME": "make a group",
    "/add USER": "take somebody into the open group",
    "/part [NAME]": "leave a group; a conversation with one other is closed",
    "/groups": "groups and whom you write with, and what is unread there",
    "/who [NAME...]": "who is there: of the open group, of these, or of all whom you write with",
    "/history [COUNT]": "older messages of the open conversation; again, and still older ones",
    "/help": "this",
    "/quit": "end",
}


class Room(NamedTuple):
    """A conversation, as one talks of it."""

    name: str
    is_group: bool

    def __str__(self) -> str:
        return f"#{self.name}" if self.is_group else self.name


@dataclass
class _Known:
    """What is known of a conversation."""

    members: tuple[str, ...] = ()
    # What has come and was not shown yet.
    waiting: list[Message] = field(default_factory=list)
    # Where older messages are to be asked for, in which cluster; none: nothing was asked yet.
    before: int | None = None
    ended: bool = False
    cluster: bytes = b""
    # The last message of the user's own, and who has read it.
    own: Position | None = None
    told: set[str] = field(default_factory=set)


@dataclass
class _Own:
    """A message of the user's own that is on its way."""

    room: Room
    message: Message
    is_shown: bool = False


class Quit(Exception):
    """The user wants to end."""


class Talk:
    """One user's terminal. `say` shows a line."""

    def __init__(
        self, client: AsyncClient, say: Callable[[str], None], pending_after_s: float = PENDING_AFTER_S
    ) -> None:
        self.room: Room | None = None
        self.online: dict[str, bool] = {}
        self._client = client
        self._say = say
        self._pending_after_s = pending_after_s
        self._known: dict[Room, _Known] = {}
        # Where the user has written something.
        self._written: dict[tuple[bytes, int], Room] = {}
        self._own: dict[asyncio.Future[Sent], _Own] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_lost = False
        client.on_message = self._on_message
        client.on_event = self._on_event
        self._commands: dict[str, Callable[[list[str], str], Awaitable[None]]] = {
            "/msg": self._msg,
            "/join": self._join,
            "/create": self._create,
            "/add": self._add,
            "/part": self._part,
            "/groups": self._groups,
            "/who": self._who,
            "/history": self._history,
            "/help": self._help,
            "/quit": self._quit,
        }

    # For those who read and show lines.

    async def begin(self) -> None:
        """The user has logged in: tells what waits."""
        await self._learn()
        self.online.update(await self._client.who())
        if not self._known:
            self._say("* /msg NAME TEXT writes to somebody; /help tells the rest")
        for room in [room for room, known in self._known.items() if len(known.waiting) > 1]:
            self._notice(room)

    async def line(self, line: str) -> None:
        """The user has entered a line. Raises `Quit`."""
        line = line.strip()
        if not line:
            return
        if not line.startswith("/"):
            if self.room is None:
                self._say("* no conversation is open: /msg NAME or /join NAME opens one")
            else:
                self._post(self.room, line)
            return
        name, *words = line.split()
        command = self._commands.get(name)
        if command is None:
            self._say(f"* there is no {clean(name)}: /help tells what there is")
            return
        try:
            await command(words, line)
        except ChatError as error:
            self._say(f"* {name}: {clean(str(error))}")

    async def end(self) -> None:
        """Waits for messages that are pending, for a while."""
        if self._own:
            self._say(f"* waiting for {len(self._own)} pending")
            done, _ = await asyncio.wait(set(self._own), timeout=self._client.timeout)
            for pending in done:
                self._settle(pending)
        for task in list(self._tasks):
            task.cancel()

    def prompt(self) -> str:
        """Stands before what the user enters."""
        return f"{self._client.user} > {self.room}: " if self.room else f"{self._client.user}: "

    def status(self) -> str:
        """One line about now."""
        server = self._client.server
        parts = [f"on {server}" if server else "NO SERVER, looking for one"]
        if self._own:
            parts.append(f"{len(self._own)} pending")
        unread = [f"{room} ({len(known.waiting)})" for room, known in self._known.items() if known.waiting]
        if unread:
            parts.append("unread: " + ", ".join(unread))
        there = sorted(user for user, online in self.online.items() if online and user != self._client.user)
        if there:
            parts.append("there: " + ", ".join(there[:8]) + (" ..." if len(there) > 8 else ""))
        return " | ".join(parts)

    def completions(self, text: str) -> list[str]:
        """What the last word of a line may become."""
        words = text.split(" ")
        if len(words) == 1:
            return [name for name in self._commands if text.startswith("/") and name.startswith(text)]
        groups = sorted(str(room) for room in self._known if room.is_group)
        users = sorted({room.name for room in self._known if not room.is_group} | set(self.online))
        choices: Iterable[str]
        if words[0] in ("/join", "/part") and len(words) == 2:
            choices = groups
        elif words[0] == "/msg" and len(words) == 2:
            choices = [*users, *groups]
        elif words[0] in ("/who", "/add"):
            choices = users
        else:
            return []
        return [choice for choice in choices if choice.lstrip("#").startswith(words[-1].lstrip("#"))]

    # Commands.

    async def _msg(self, words: list[str], line: str) -> None:
        if not words:
            self._say("* /msg NAME [TEXT]: to whom?")
            return
        room = self._room(words[0])
        if len(words) == 1:
            await self._open(room)
            return
        if self.room is None:
            # The answer is shown where one is looking.
            await self._open(room)
        self._post(room, line.split(None, 2)[2])

    async def _join(self, words: list[str], _: str) -> None:
        if len(words) != 1:
            self._say("* /join NAME: which group?")
            return
        room = Room(words[0].lstrip("#"), True)
        await self._learn()
        if room not in self._known:
            try:
                await self._client.create_group(room.name)
            except NameTaken:
                self._say(
                    f"* {clean(room.name)} is taken; if it is a group, ask one of its members to /add you"
                )
                return
            self._say(f"* made the group {room}; /add USER takes others in")
            await self._learn()
        await self._open(room)

    async def _create(self, words: list[str], _: str) -> None:
        if len(words) != 1:
            self._say("* /create NAME: which group?")
            return
        room = Room(words[0].lstrip("#"), True)
        await self._client.create_group(room.name)
        await self._learn()
        await self._open(room)

    async def _add(self, words: list[str], _: str) -> None:
        if self.room is None or not self.room.is_group or not words:
            self._say("* /add USER: open a group first (/join NAME), and name somebody")
            return
        for user in words:
            try:
                await self._client.add_to_group(self.room.name, user)
            except ChatError as error:
                self._say(f"* {clean(user)} is not taken in: {clean(str(error))}")
            else:
                self._say(f"* {clean(user)} belongs to {self.room} now")

    async def _part(self, words: list[str], _: str) -> None:
        room = self._room(words[0]) if words else self.room
        if room is None:
            self._say("* /part NAME: which group?")
            return
        if room.is_group:
            await self._client.leave_group(room.name)
            self._known.pop(room, None)
            self._say(f"* you have left {room}")
        if room == self.room:
            self.room = None

    async def _groups(self, _: list[str], __: str) -> None:
        for one in await self._learn():
            room = room_of(one)
            unread = len(self._known[room].waiting)
            members = ": " + ", ".join(one.members) if one.is_group else ""
            self._say(clean(f"  {room}{members}" + (f" ({unread} unread)" if unread else "")))
        if not self._known:
            self._say("* none yet")

    async def _who(self, words: list[str], _: str) -> None:
        if not words and self.room is not None and self.room.is_group:
            await self._learn()
            words = list(self._known[self.room].members) if self.room in self._known else []
        found = await self._client.who(*words)
        self.online.update(found)
        if self._client.user in words:
            # Servers tell of others only.
            found = {**found, self._client.user: True}
        if not found:
            self._say("* you write with nobody yet")
        for user, online in sorted(found.items()):
            self._say(f"  {'●' if online else '○'} {clean(user)}")

    async def _history(self, words: list[str], _: str) -> None:
        if self.room is None:
            self._say("* /history: open a conversation first, by /msg NAME or /join NAME")
            return
        count = int(words[0]) if words and words[0].isascii() and words[0].isdigit() else SHOWN_AT_FIRST
        await self._show_older(self.room, max(1, min(count, 1000)))

    async def _help(self, _: list[str], __: str) -> None:
        for command, what in HELP.items():
            self._say(f"  {command:<18} {what}")
        self._say("  ✓ accepted by the servers   … pending   anything else is sent to the open conversation")

    async def _quit(self, _: list[str], __: str) -> None:
        raise Quit

    # Conversations.

    def _room(self, name: str) -> Room:
        group = Room(name.lstrip("#"), True)
        return group if name.startswith("#") or group in self._known else Room(name, False)

    async def _learn(self) -> list[Conversation]:
        conversations = await self._client.conversations()
        for one in conversations:
            room = room_of(one)
            known = self._known.setdefault(room, _Known())
            known.members = one.members
        return conversations

    async def _open(self, room: Room) -> None:
        if room not in self._known:
            await self._learn()
        if room not in self._known and room.is_group:
            self._say(
                f"* you do not belong to {clean(str(room))}; its members can /add you, or /join makes it"
            )
            return
        # Whether there is such a user is known when the first message is sent.
        known = self._past(room)
        # What comes while the past is asked for waits, and is told once.
        self.room = None
        self._say(f"* -- {clean(str(room))} --")
        if known.before is None and not known.ended:
            await self._show_older(room, SHOWN_AT_FIRST)
        with contextlib.suppress(ChatError):
            self.online.update(await self._client.who(*(known.members or [room.name])))
        self.room = room
        waiting, known.waiting = known.waiting, []
        if waiting:
            self._say(f"* -- unread ({len(waiting)}) --")
        for one in waiting:
            self._show(one)
            self._client.acknowledge(one)

    def _past(self, room: Room) -> _Known:
        """What is known of a conversation; of its past in this cluster, since each keeps its own."""
        known = self._known.setdefault(room, _Known())
        if known.cluster != self._client.cluster:
            known.cluster, known.before, known.ended = self._client.cluster, None, False
        return known

    async def _show_older(self, room: Room, count: int) -> None:
        known = self._past(room)
        if known.ended:
            self._say("* there is nothing older")
            return
        before = known.before
        positions = [one.position for one in known.waiting if one.position is not None]
        unread = [one for one in positions if one.cluster == known.cluster]
        if before is None and unread:
            before = unread[0].sequence
        try:
            page = await self._client.history(room.name, group=room.is_group, before=before, limit=count)
        except (NotFound, Forbidden):
            # Nothing has been said there yet.
            known.ended = True
            return
        known.ended = page.before is None
        known.before = page.before
        for one in page.messages:
            self._show(one)
        last = page.messages[-1].position if page.messages else None
        waiting, known.waiting = known.waiting, []
        for one in waiting:
            if last is not None and one.position is not None and last.reaches(one.position):
                self._client.acknowledge(one)
            else:
                known.waiting.append(one)

    def _show(self, message: Message, mark: str = "") -> None:
        is_own = message.sender == self._client.user and message.cluster is None
        sender = f"{message.sender}@{message.cluster}" if message.cluster else message.sender
        self._say(f"[{clock(message.time)}] {'me' if is_own else clean(sender)}: {clean(message.text)}{mark}")

    def _notice(self, room: Room) -> None:
        count = len(self._known[room].waiting)
        self._say(
            f"* {clean(str(room))}: {count} unread; /msg {clean(str(room))} shows {'it' if count == 1 else 'them'}"
        )

    # Messages.

    def _on_message(self, message: Message) -> None:
        # What was accepted before stands above the answer to it.
        for pending in [pending for pending in self._own if pending.done()]:
            self._settle(pending)
        room = self._room_of(message)
        known = self._known.setdefault(room, _Known())
        if room == self.room:
            self._show(message)
            self._client.acknowledge(message)
            return
        if message.sender == self._client.user and message.cluster is None:
            # By another session of the user.
            return
        known.waiting.append(message)
        if len(known.waiting) == 1:
            self._notice(room)

    def _room_of(self, message: Message) -> Room:
        at = f"@{message.cluster}" if message.cluster else ""
        if message.is_group:
            return Room(message.to + at, True)
        is_own = message.sender == self._client.user and not at
        return Room(message.to if is_own else message.sender + at, False)

    def _post(self, room: Room, text: str) -> None:
        try:
            pending = self._client.post(room.name, text, group=room.is_group)
        except ChatError as error:
            self._say(f"* not sent: {clean(str(error))}")
            return
        own = _Own(room, Message(self._client.user, text, room.name, room.is_group, time=now()))
        self._own[pending] = own
        task = asyncio.get_running_loop().create_task(self._follow(pending, own))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(self, pending: asyncio.Future[Sent], own: _Own) -> None:
        """Shows a message of the user's own as it gets on."""
        done, _ = await asyncio.wait({pending}, timeout=self._pending_after_s)
        if not done:
            own.is_shown = True
            self._show(own.message, f"{self._to(own.room)} …")
            await asyncio.wait({pending})
        self._settle(pending)

    def _to(self, room: Room) -> str:
        return "" if room == self.room else f" (to {clean(str(room))})"

    def _settle(self, pending: asyncio.Future[Sent]) -> None:
        """Shows what became of a message of the user's own, if that was not shown yet."""
        own = self._own.pop(pending, None)
        if own is None or pending.cancelled():
            return
        to = self._to(own.room)
        try:
            sent = pending.result()
        except ChatError as error:
            self._say(f"* not sent{to}: {clean(own.message.text)}: {clean(str(error))}")
            return
        if own.is_shown:
            self._say(f"  ✓ {clean(own.message.text)}")
        else:
            self._show(own.message, f"{to} ✓")
        known = self._known.setdefault(own.room, _Known())
        place = sent.position
        if place is not None:
            self._written[place.cluster, place.conversation] = own.room
            if known.own is None or not known.own.reaches(place):
                known.own = place
            known.told.clear()

    # What happens.

    def _on_event(self, event: Happening) -> None:
        if isinstance(event, Down):
            self._is_lost = True
            self._say(f"* lost the server {event.server} ({clean(event.why)}); looking for another one")
        elif isinstance(event, Stopped):
            if self._is_lost:
                self._say(
                    f"* no server can be used ({clean(str(event.error))}); what you enter next tries them again"
                )
        elif isinstance(event, Up):
            if self._is_lost:
                self._say(f"* on the server {event.server} now")
            self._is_lost = False
        elif isinstance(event, Online):
            self._on_online(event)
        elif isinstance(event, Read):
            self._on_read(event)

    def _on_online(self, event: Online) -> None:
        before = self.online.get(event.user)
        self.online[event.user] = event.online
        is_near = self.room is not None and (
            event.user == self.room.name or event.user in self._known.get(self.room, _Known()).members
        )
        if before is not None and before != event.online and is_near and event.user != self._client.user:
            self._say(f"* {clean(event.user)} {'is here' if event.online else 'has gone'}")

    def _on_read(self, event: Read) -> None:
        room = self._written.get((event.position.cluster, event.position.conversation))
        known = self._known.get(room) if room is not None else None
        if known is None or event.user == self._client.user or event.user in known.told:
            return
        if known.own is not None and event.position.reaches(known.own):
            known.told.add(event.user)
            if room == self.room:
                self._say(f"* {clean(event.user)} has read it")


def room_of(conversation: Conversation) -> Room:
    """How one talks of a conversation."""
    at = f"@{conversation.cluster}" if conversation.cluster else ""
    return Room(conversation.name + at, conversation.is_group)
