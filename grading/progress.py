"""What a terminal sees while the grader works: one line that is wiped before anything else is printed."""

from __future__ import annotations

import os
import shutil
import sys
import time


class Progress:
    """A progress line on standard error and coloured verdicts on standard output, each if that is a terminal."""

    def __init__(self) -> None:
        self.active = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.colour = (
            sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        )
        self.started_at = time.monotonic()
        self._shown = False

    def show(self, text: str) -> None:
        """Replace the line."""
        if self.active:
            width = shutil.get_terminal_size().columns - 1
            line = f"{text}  {time.monotonic() - self.started_at:.0f} s"
            sys.stderr.write("\r" + line[:width].ljust(width))
            sys.stderr.flush()
            self._shown = True

    def wipe(self) -> None:
        """Make room for a line that stays."""
        if self._shown:
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write("\r" + " " * width + "\r")
            sys.stderr.flush()
            self._shown = False

    def say(self, text: str = "") -> None:
        """A line that stays, on standard output."""
        self.wipe()
        print(text, flush=True)

    def paint(self, text: str, word: str) -> str:
        """`text` with the verdict `word` in it coloured."""
        code = {"correct": "32", "wrong": "31", "not run": "33"}.get(word)
        if not self.colour or code is None:
            return text
        return text.replace(f" {word}", f" \033[{code}m{word}\033[0m", 1)
