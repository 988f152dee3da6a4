"""Whether the server that the client is on lives. Pure: no clock, no sockets."""

from __future__ import annotations

PING_AFTER_S = 0.4
"""So long a server may be silent before it is asked whether it lives, and then again and again."""
SILENT_S_MAX = 1.2
"""A server that has been silent for so long is taken for dead, although its connection stands."""


class Pulse:
    """When a server was heard last, and when it is to be asked."""

    def __init__(self) -> None:
        self._heard_at = 0.0
        self._ping_at = 0.0
        self._watched = True

    def heard(self, now: float) -> None:
        """The server has said something."""
        self._heard_at, self._ping_at = now, now + PING_AFTER_S

    def watch(self, now: float, watched: bool) -> None:
        """Whether the server is listened to; while it is not, it is not taken for dead."""
        self._watched = watched
        self.heard(now)

    def deadline(self) -> float | None:
        """When `is_dead` or `wants_ping` may be true next, if ever."""
        return min(self._ping_at, self._heard_at + SILENT_S_MAX) if self._watched else None

    def is_dead(self, now: float) -> bool:
        """Whether the server has been silent for too long."""
        return self._watched and now >= self._heard_at + SILENT_S_MAX

    def wants_ping(self, now: float) -> bool:
        """Whether the server is to be asked now; it is, then."""
        if not self._watched or now < self._ping_at:
            return False
        self._ping_at = now + PING_AFTER_S
        return True
