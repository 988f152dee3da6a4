"""A client's core whose server the test plays, with a clock that it moves."""

from __future__ import annotations

import random
import unittest

from ovid_chat import chat_pb2 as pb
from ovid_chat.contract import Arrived, Connect, Event, Settings, Settled
from ovid_chat.core import ACKNOWLEDGE_AFTER_S, Core, Phase
from ovid_chat.model import Address, Message, Position
from ovid_chat.wire import Frames, frame

SERVERS = (Address("one", 1), Address("two", 2))


def push(
    sequence: int,
    text: str = "",
    sender: str = "ann",
    conversation: int = 7,
    origin: Position | None = None,
) -> pb.Message:
    message = pb.Message(
        type=pb.Message.SINGLE,
        senderId=sender,
        payload=text or str(sequence),
        receiverId="bob",
        timestamp="",
        action=pb.Message.POST,
        position=pb.Position(conversation=conversation, sequence=sequence),
    )
    if origin is not None:
        message.origin.cluster = origin.cluster
        message.origin.position.conversation = origin.conversation
        message.origin.position.sequence = origin.sequence
    return message


class Play(unittest.TestCase):
    """Bob's core, and the server that it is on."""

    def setUp(self) -> None:
        self.now = 100.0
        self.start()

    def start(self, settings: Settings = Settings("bob", "secret", SERVERS)) -> None:  # noqa: B008 - it is frozen.
        self.core = Core(settings, random.Random(1))
        self.frames = Frames()
        self.events: list[Event] = []

    def sent(self) -> list[pb.Route]:
        """What the client has sent since the last time."""
        self.events += self.core.take_events()
        return [pb.Route.FromString(one) for one in self.frames.cut(self.core.take_bytes())]

    def answer(self, route: pb.Route) -> None:
        self.core.received(self.now, frame(route))

    def accept(self, route: pb.Route, sequence: int = 0) -> None:
        answer = pb.Route(id=route.id, path=pb.Route.RESPONSE)
        answer.response.success = True
        if sequence:
            answer.posted.position.conversation, answer.posted.position.sequence = 7, sequence
        self.answer(answer)

    def refuse(self, route: pb.Route, code: int, expected: int | None = None) -> None:
        answer = pb.Route(id=route.id, path=pb.Route.RESPONSE)
        answer.response.success, answer.response.errorCode = False, code
        if expected is not None:
            answer.posted.expected = expected
        self.answer(answer)

    def push(self, *messages: pb.Message) -> None:
        route = pb.Route(id=0, path=pb.Route.MESSAGES_RESPONSE)
        route.messagesResponse.type = pb.MessagesRequest.USER
        route.messagesResponse.messages.extend(messages)
        self.answer(route)

    def connect(self, expected: int = 1, tag: str = "here", cluster: bytes = b"") -> pb.Login:
        """Carries out the connection that is wanted, and logs in."""
        actions = self.core.take_actions()
        self.assertIsInstance(actions[-1], Connect)
        self.frames = Frames()
        self.core.connected(self.now)
        (route,) = self.sent()
        answer = pb.Route(id=route.id, path=pb.Route.RESPONSE)
        answer.response.success = True
        answer.welcome.token, answer.welcome.expected, answer.welcome.groupTag = b"token", expected, tag
        if cluster:
            answer.welcome.cluster = cluster
        self.answer(answer)
        return route.login

    def log_in(self) -> pb.Login:
        self.core.log_in(self.now, "log-in")
        return self.connect()

    def post(self, *texts: str) -> list[pb.Route]:
        for text in texts:
            self.core.post(self.now, text, "ann", text, False)
        return self.sent()

    def messages(self) -> list[Message]:
        """What the user was shown."""
        self.events += self.core.take_events()
        return [event.message for event in self.events if isinstance(event, Arrived)]

    def arrived(self) -> list[str]:
        return [message.text for message in self.messages()]

    def acknowledged(self) -> list[tuple[int, int]]:
        """What of that the client has told since the last time, in time."""
        if self.core.phase is Phase.READY:
            self.now += ACKNOWLEDGE_AFTER_S
            self.core.timeout(self.now)
        return [(one.conversation, one.sequence) for route in self.sent() for one in route.acknowledged]

    def settled(self) -> dict[object, object]:
        """What became of each ticket: an exception's kind, or None."""
        self.events += self.core.take_events()
        return {
            event.ticket: type(event.error) if event.error else None
            for event in self.events
            if isinstance(event, Settled)
        }

    def wait(self) -> None:
        """Until the core wants to do something."""
        at = self.core.deadline()
        assert at is not None, "it waits for nothing"
        self.now = max(self.now, at)
        self.core.timeout(self.now)
