"""How times, and what others have written, stand in a line of the terminal."""

from __future__ import annotations

import datetime
import unicodedata


def now() -> datetime.datetime:
    """The time, by this machine's clock."""
    return datetime.datetime.now(datetime.timezone.utc)


def clock(time: datetime.datetime | None) -> str:
    """A time of today by the clock, an older one with its day."""
    if time is None:
        return "--:--"
    local = time.astimezone()
    return local.strftime("%H:%M" if local.date() == now().astimezone().date() else "%Y-%m-%d %H:%M")


def clean(text: str) -> str:
    """What others have written, without what would steer the terminal or turn the line around."""
    return "".join(one if one == " " or unicodedata.category(one) not in _STEERING else "�" for one in text)


_STEERING = ("Cc", "Cf", "Cs", "Zl", "Zp")
