#!/usr/bin/env python3
"""Writes the tests that are too large to write by hand, beside this file. What each shows stands in
README.md.

Run it after a change here; the files that it writes are part of the repository, so that tests need no
generator.
"""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).resolve().parent
# The lab promises that a broadcast has arrived everywhere after one second of quiet.
QUIET = "sleep 1000"


def starts(count: int) -> list[str]:
    return [f"{each} start {count} {10000 + each}" for each in range(count)]


def messages(texts: list[str]) -> str:
    return "messages " + ",".join(texts)


def alive(ids: list[int]) -> str:
    return "alive " + ",".join(str(each) for each in ids)


def write(name: str, script: list[str], answers: list[str]) -> None:
    (HERE / f"{name}.input").write_text("\n".join(script) + "\n", encoding="utf-8", newline="\n")
    (HERE / f"{name}.output").write_text("\n".join(answers) + "\n", encoding="utf-8", newline="\n")


def fifo_1000_from_each() -> None:
    """One sender after the other: how the messages of two concurrent senders mix is nobody's promise."""
    script, sent = starts(3), []
    for sender in range(3):
        texts = [f"{sender}-{number}" for number in range(1000)]
        script += [f"{sender} broadcast {text}" for text in texts] + [f"{sender} alive", QUIET]
        sent += texts
    script += [f"{each} get" for each in range(3)]
    write("fifo-1000-from-each", script, [alive([0, 1, 2])] * 3 + [messages(sent)] * 3)


def fifo_mixed_lengths() -> None:
    """Lengths around the sizes of common buffers, so that lines are cut at every place."""
    lengths = [
        1,
        2,
        3,
        100,
        511,
        512,
        513,
        1023,
        1024,
        1025,
        4095,
        4096,
        4097,
        8191,
        8192,
        8193,
        1,
        65536,
        1,
        2,
    ]
    texts = [chr(ord("a") + place) * length for place, length in enumerate(lengths)]
    script = [*starts(2), *(f"1 broadcast {text}" for text in texts), QUIET, "0 get", "1 get"]
    write("fifo-mixed-lengths", script, [messages(texts)] * 2)


def crash_during_burst() -> None:
    """A receiver dies in the middle of a burst: the survivors miss nothing, and the sender goes on."""
    texts = [f"m{number}" for number in range(400)]
    burst = [f"0 broadcast {text}" for text in texts]
    script = [*starts(4), *burst[:200], "3 crash", *burst[200:], QUIET]
    script += ["1 get", "2 get", "0 get", "0 alive", "1 alive"]
    write("crash-during-burst", script, [messages(texts)] * 3 + [alive([0, 1, 2])] * 2)


def crash_of_sender_after_burst() -> None:
    texts = [f"m{number}" for number in range(300)]
    script = [
        *starts(3),
        *(f"2 broadcast {text}" for text in texts),
        QUIET,
        "2 crash",
        "0 get",
        "1 get",
        "1 alive",
    ]
    write("crash-of-sender-after-burst", script, [messages(texts)] * 2 + [alive([0, 1])])


def restart_rapid() -> None:
    """The same id dies and comes back ten times; an old connection's end must never take the new one with it."""
    script, answers = starts(3), []
    for _ in range(10):
        script += ["1 crash", "0 alive", "1 start 3 10001", "0 alive", "1 alive", "2 alive"]
        answers += [alive([0, 2]), *[alive([0, 1, 2])] * 3]
    script += ["0 broadcast to the tenth", QUIET, "1 get", "2 get"]
    write("restart-rapid", script, answers + [messages(["to the tenth"])] * 2)


def restart_during_burst() -> None:
    """A receiver comes back in the middle of a burst. What it gets of it is open; what the others get is not."""
    texts = [f"m{number}" for number in range(300)]
    burst = [f"0 broadcast {text}" for text in texts]
    script = [*starts(3), *burst[:100], "2 crash", *burst[100:200], QUIET, "2 start 3 10002"]
    script += [*burst[200:], QUIET]
    script += ["0 get", "1 get", "2 get"]
    # The new server is ready before the last third is sent, and so gets all of that.
    write("restart-during-burst", script, [messages(texts)] * 2 + [messages(texts[200:])])


def long_messages() -> None:
    text = "long " * 20000 + "end"
    write(
        "message-long", [*starts(2), f"0 broadcast {text}", QUIET, "1 get", "0 get"], [messages([text])] * 2
    )
    text = "Zürich 東京 🦀 " * 5000 + "ende"
    write("utf8-long", [*starts(2), f"1 broadcast {text}", QUIET, "0 get", "1 get"], [messages([text])] * 2)


def sixteen_servers() -> None:
    everyone = list(range(16))
    script = [*starts(16), *(f"{each} alive" for each in everyone), "5 broadcast to fifteen others", QUIET]
    script += [f"{each} get" for each in everyone]
    answers = [alive(everyone)] * 16 + [messages(["to fifteen others"])] * 16
    write("sixteen-servers", script, answers)


def sixteen_servers_half_crash() -> None:
    odd = list(range(1, 16, 2))
    script = [*starts(16), *(f"{each} crash" for each in range(0, 16, 2)), *(f"{each} alive" for each in odd)]
    script += ["15 broadcast half", QUIET, *(f"{each} get" for each in odd)]
    write("sixteen-servers-half-crash", script, [alive(odd)] * 8 + [messages(["half"])] * 8)


if __name__ == "__main__":
    fifo_1000_from_each()
    fifo_mixed_lengths()
    crash_during_burst()
    crash_of_sender_after_burst()
    restart_rapid()
    restart_during_burst()
    long_messages()
    sixteen_servers()
    sixteen_servers_half_crash()
