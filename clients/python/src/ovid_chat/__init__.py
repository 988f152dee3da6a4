"""A client of ovid's chat: `Client` waits, `AsyncClient` is for asyncio.

    with Client("bob", "secret", servers=["127.0.0.1:4001"]) as chat:
        chat.register(exist_ok=True)
        chat.send("ann", "hello")
        for message in chat.messages():
            print(message.sender, message.text)

Pure, and of use to other hosts: `core` and what it stands on.
"""

from ovid_chat.aio import AsyncClient
from ovid_chat.blocking import Client
from ovid_chat.errors import (
    Busy,
    ChatError,
    Forbidden,
    Invalid,
    NameTaken,
    NotFound,
    NotLoggedIn,
    TooLong,
    Unknown,
    Unreachable,
    Untrusted,
    WrongPassword,
)
from ovid_chat.model import (
    Address,
    Conversation,
    Down,
    Happening,
    History,
    Message,
    Online,
    Position,
    Read,
    Sent,
    Stopped,
    Up,
)

__all__ = [
    "Address",
    "AsyncClient",
    "Busy",
    "ChatError",
    "Client",
    "Conversation",
    "Down",
    "Forbidden",
    "Happening",
    "History",
    "Invalid",
    "Message",
    "NameTaken",
    "NotFound",
    "NotLoggedIn",
    "Online",
    "Position",
    "Read",
    "Sent",
    "Stopped",
    "TooLong",
    "Unknown",
    "Unreachable",
    "Untrusted",
    "Up",
    "WrongPassword",
]
