"""The terminal as a program in a terminal, in which keys are pressed."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pty
import select
import socket
import subprocess
import sys
import termios
import threading
import time
import unittest
from collections.abc import Iterable, Iterator

from fake import SILENT, fake_chat
from program import ENVIRONMENT, command

from ovid_chat import chat_pb2 as pb

TIMEOUT_S = 30
CTRL_C, CTRL_D = "\x03", "\x04"
START = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Goes on as the program that is named: as a shell would have started it in this terminal, whoever runs the tests."""

WAYS = ("--plain", "") if importlib.util.find_spec("prompt_toolkit") else ("--plain",)
"""How lines can be read here: the options that say so."""


class Screen:
    """A program in a terminal of its own."""

    def __init__(self, arguments: Iterable[str]) -> None:
        self._keys, self._terminal = pty.openpty()
        environment = {**ENVIRONMENT, "TERM": "vt100", "PROMPT_TOOLKIT_NO_CPR": "1"}
        del environment["OVID_CHAT_PASSWORD"]
        self._program = subprocess.Popen(
            [sys.executable, "-c", START, *arguments],
            stdin=self._terminal,
            stdout=self._terminal,
            stderr=self._terminal,
            start_new_session=True,
            env=environment,
        )
        self.shown = ""
        os.set_blocking(self._keys, False)

    def until(self, words: str) -> None:
        """Waits until this is shown, after what was waited for before."""
        end = time.monotonic() + TIMEOUT_S
        while words not in self.shown:
            if time.monotonic() > end or not self._read(0.1):
                raise AssertionError(f"{words!r} does not come: {self.shown!r}")
        self.shown = self.shown.split(words, 1)[1]

    def press(self, keys: str) -> None:
        os.write(self._keys, keys.encode())

    def status(self) -> int:
        """Waits until the program ends, and reads what it has still to show."""
        end = time.monotonic() + TIMEOUT_S
        while self._program.poll() is None:
            if time.monotonic() > end:
                raise AssertionError(f"it does not end: {self.shown!r}")
            self._read(0.05)
        while self._read(0):
            pass
        return self._program.returncode

    def echoes(self) -> bool:
        """Whether keys are shown as they are pressed, and lines taken as usual."""
        modes: int = termios.tcgetattr(self._terminal)[3]
        wanted = termios.ECHO | termios.ICANON | termios.ISIG
        return modes & wanted == wanted

    def close(self) -> None:
        self._program.kill()
        self._program.wait()
        os.close(self._keys)
        os.close(self._terminal)

    def _read(self, seconds: float) -> bool:
        """Takes what is shown within this time; false if the program has ended, and nothing was."""
        is_over = self._program.poll() is not None
        if not select.select([self._keys], [], [], seconds)[0]:
            return not is_over
        self.shown += os.read(self._keys, 65536).decode(errors="replace")
        return True


class Keys(unittest.TestCase):
    @contextlib.contextmanager
    def screen(self, servers: Iterable[str], *options: str) -> Iterator[Screen]:
        """Bob's terminal, which asks for his password."""
        with contextlib.closing(Screen(command("bob", servers, *filter(None, options)))) as screen:
            screen.until("bob's password: ")
            yield screen

    def ends(self, screen: Screen, status: int) -> None:
        """The program ends as it should, and leaves the terminal as it was."""
        self.assertEqual(screen.status(), status, screen.shown)
        self.assertNotIn("Traceback", screen.shown)
        self.assertTrue(screen.echoes())

    def test_where_the_password_is_asked_for(self) -> None:
        for key in (CTRL_C, CTRL_D):
            with self.subTest(key), self.screen(["127.0.0.1:1"]) as screen:
                self.assertFalse(screen.echoes())
                screen.press(key)
                self.ends(screen, 130)

    def test_while_the_user_is_let_in(self) -> None:
        for option in WAYS:
            with self.subTest(option), socket.create_server(("127.0.0.1", 0)) as silent:
                address = f"127.0.0.1:{silent.getsockname()[1]}"
                silent.settimeout(TIMEOUT_S)
                with self.screen([address], option) as screen:
                    screen.press("secret\n")
                    connection, _ = silent.accept()
                    with connection:
                        connection.settimeout(TIMEOUT_S)
                        self.assertIn(b"secret", connection.recv(65536))
                        screen.press(CTRL_C)
                        self.ends(screen, 130)

    def test_where_lines_are_entered(self) -> None:
        with fake_chat() as chat:
            chat.users.update(ann="secret", bob="secret")
            for option in WAYS:
                with self.subTest(option, key="Ctrl-D"), self.logged_in(chat.addresses, option) as screen:
                    screen.press(CTRL_D)
                    self.ends(screen, 0)
            with self.subTest("plain, Ctrl-C"), self.logged_in(chat.addresses, "--plain") as screen:
                screen.press("/msg ann half a line" + CTRL_C)
                self.ends(screen, 130)
            self.assertEqual(chat.texts("ann", "bob"), [])

    def test_while_something_is_carried_out(self) -> None:
        for option in WAYS:
            with self.subTest(option), fake_chat() as chat:
                chat.users.update(bob="secret")
                asked = threading.Event()

                def hook(_: int, route: pb.Route, asked: threading.Event = asked) -> str | None:
                    if not route.HasField("who") or list(route.who.users) != ["ann"]:
                        return None
                    asked.set()
                    return SILENT

                chat.hook = hook
                with self.logged_in(chat.addresses, option) as screen:
                    screen.press("/who ann\r")
                    self.assertTrue(asked.wait(TIMEOUT_S))
                    screen.press(CTRL_C)
                    self.ends(screen, 130)

    @unittest.skipUnless("" in WAYS, "prompt_toolkit is not there")
    def test_a_line_that_is_given_up_is_not_sent(self) -> None:
        with fake_chat() as chat:
            chat.users.update(ann="secret", bob="secret")
            with self.logged_in(chat.addresses) as screen:
                screen.press("/msg ann no" + CTRL_C)
                screen.until("bob:")
                screen.press("/msg ann yes\r")
                screen.until("me: yes")
                screen.press("/quit\r")
                self.ends(screen, 0)
            self.assertEqual(chat.texts("ann", "bob"), ["yes"])

    @contextlib.contextmanager
    def logged_in(self, servers: Iterable[str], *options: str) -> Iterator[Screen]:
        with self.screen(servers, *options) as screen:
            screen.press("secret\n")
            screen.until("/help tells the rest")
            if "--plain" not in options:
                screen.until("bob:")
            yield screen


if __name__ == "__main__":
    unittest.main()
