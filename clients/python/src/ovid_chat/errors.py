"""What can go wrong, as exceptions: one for each code that a server gives, and one for when there is no server."""

from __future__ import annotations

from typing import Any

from ovid_chat.chat_pb2 import ErrorCode


class ChatError(Exception):
    """Something that was asked of the chat was not done, or it is not known whether it was."""

    code: int = ErrorCode.INVALID


class Invalid(ChatError):
    """The request makes no sense, or not here. To send it again as it is will not help."""

    code = ErrorCode.INVALID


class NotLoggedIn(ChatError):
    """Nobody has logged in."""

    code = ErrorCode.NOT_LOGGED_IN


class WrongPassword(ChatError):
    """The name or the password is wrong."""

    code = ErrorCode.WRONG_PASSWORD


class NameTaken(ChatError):
    """There is a user or a group of that name already."""

    code = ErrorCode.NAME_TAKEN


class NotFound(ChatError):
    """There is no such user, group or conversation."""

    code = ErrorCode.NOT_FOUND


class Forbidden(ChatError):
    """The user may not do that."""

    code = ErrorCode.FORBIDDEN


class Busy(ChatError):
    """Too much is under way, or an inbox is full. Nothing was done; it may be asked again later."""

    code = ErrorCode.BUSY


class Unknown(ChatError):
    """It is not known, or not known yet, whether it was done.

    Of a message, `pending` can still be awaited (an `asyncio.Future`, or a `concurrent.futures.Future` from the
    blocking client): it goes on being tried, and is sent at most once. None if nothing more will be known.
    """

    code = ErrorCode.UNKNOWN

    def __init__(self, text: str, pending: Any = None) -> None:  # noqa: ANN401 - one of two kinds of futures
        super().__init__(text)
        self.pending = pending


class TooLong(ChatError):
    """Longer than the server takes."""

    code = ErrorCode.TOO_LONG


class Unreachable(ChatError, ConnectionError):
    """No server could be reached, or none that could log the user in."""

    code = ErrorCode.UNKNOWN


class Untrusted(Unreachable):
    """The servers have shown certificates that are not to be believed. The client tries no more until it is asked for
    something again."""


def error_of(code: int, text: str) -> ChatError:
    """The exception for what a server answered."""
    kind = _KINDS.get(code, Invalid)
    return kind(text or ErrorCode.Name(code) if code in ErrorCode.values() else text or f"error {code}")


_KINDS: dict[int, type[ChatError]] = {
    kind.code: kind
    for kind in (
        Invalid,
        NotLoggedIn,
        WrongPassword,
        NameTaken,
        NotFound,
        Forbidden,
        Busy,
        Unknown,
        TooLong,
    )
}
