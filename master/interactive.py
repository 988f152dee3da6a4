"""The master by hand: a prompt, history, completion and help. A wrong line never ends the session."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from grid import Interrupted, LimitReached
from runner import Run
from script import EXIT, SLEEP

try:
    import readline
except ImportError:
    readline = None

HELP, QUESTION_MARK = "help", "?"
HISTORY_LINES_MAX = 1000
WATCH_SECONDS = 0.25
NUDGE_SECONDS = 0.1
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Session:
    """Reads commands from a person and runs them one at a time."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._at_prompt = False

    def loop(self) -> None:
        """Until `exit`, the end of the input, or a signal other than Ctrl-C."""
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._take_signal)
        with self._history(), self._noticed_signals():
            print("`help` shows the commands, `exit` or Ctrl-D ends the session.", file=sys.stderr)
            number = 0
            while True:
                number += 1
                try:
                    line = self._read()
                    if line is None or not self._carry_out(number, line):
                        return
                except Interrupted as interrupted:
                    if interrupted.number != signal.SIGINT:
                        raise
                    self.run.grid.interrupted_by = None
                    print("\n(interrupted; `exit` or Ctrl-D ends the session)", file=sys.stderr)

    def _read(self) -> str | None:
        """The next line; None at the end of the input."""
        prompt = self._prompt()
        self.run.grid.take_wakes()  # Those of signals that were meant for the command before.
        self._at_prompt = True
        try:
            if self.run.grid.interrupted_by is not None:
                raise Interrupted(self.run.grid.interrupted_by)
            with self._watching():
                if sys.stdout.isatty():
                    return input(prompt)
                sys.stderr.write(prompt)  # Answers that go to a file are not mixed with prompts.
                sys.stderr.flush()
                return input()
        except EOFError:
            print(file=sys.stderr)
            return None
        finally:
            self._at_prompt = False

    def _carry_out(self, number: int, line: str) -> bool:
        if line.strip() in (HELP, QUESTION_MARK):
            self._help()
            return True
        return self.run.execute(number, line.encode("utf-8", "surrogateescape"))

    def _prompt(self) -> str:
        live = [str(each.id) for each in self.run.grid.servers.values() if each.lost is None]
        return f"[{','.join(sorted(live, key=int)) or 'no servers'}]> "

    def _help(self) -> None:
        rows = [(verb.usage(), verb.help) for verb in self.run.lab.verbs.values()]
        rows += [
            (f"{SLEEP} <milliseconds>", "wait"),
            (EXIT, "end all servers and the session"),
            (HELP, "show this"),
        ]
        width = max(len(usage) for usage, _ in rows)
        for usage, text in rows:
            print(f"  {usage:<{width}}  {text}", file=sys.stderr)

    def _take_signal(self, number: int, _frame: object) -> None:
        if self._at_prompt:
            raise Interrupted(number)
        self.run.grid.interrupted_by = number
        self.run.grid.wake()

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        """Serves the grid from a second thread while the first one waits for a line, so a death is told at once.

        Only one of the two ever touches the grid: the thread has ended before the line is carried out.
        """
        done = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(done,), daemon=True)
        try:
            watcher.start()
            yield
        finally:
            self._at_prompt = False  # From here on a signal only leaves word; it must not tear this apart.
            done.set()
            self.run.grid.wake()
            if watcher.ident is not None:
                watcher.join()

    def _watch(self, done: threading.Event) -> None:
        grid = self.run.grid
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # They are for the first thread.
        while not done.is_set():
            seen = grid.out.problem_count
            try:
                grid.turn(WATCH_SECONDS)
            except (Interrupted, LimitReached):
                return  # The first thread meets it too, before the next command.
            if grid.out.problem_count != seen and readline is not None:
                # The message has torn the line that is being typed.
                sys.stdout.write(self._prompt() + readline.get_line_buffer())
                sys.stdout.flush()
            for number in grid.take_wakes():
                # A signal that came just before the first thread began to wait for a key has not ended that wait.
                while number in SIGNALS and not done.wait(NUDGE_SECONDS):
                    signal.pthread_kill(threading.main_thread().ident or 0, number)

    @contextlib.contextmanager
    def _noticed_signals(self) -> Iterator[None]:
        """Has each signal wake the grid by its number, however busy the first thread is."""
        before = signal.set_wakeup_fd(self.run.grid.wake_descriptor(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)

    @contextlib.contextmanager
    def _history(self) -> Iterator[None]:
        """Keeps the lines of earlier sessions, in the user's own state directory."""
        if readline is None:
            yield
            return
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        path = state / "ovid" / "history"
        with contextlib.suppress(OSError):
            readline.read_history_file(path)
        readline.set_history_length(HISTORY_LINES_MAX)
        readline.set_completer(self._complete)
        libedit = "libedit" in (readline.__doc__ or "")
        readline.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                path.parent.mkdir(parents=True, exist_ok=True)
                readline.write_history_file(path)

    def _complete(self, text: str, state: int) -> str | None:
        """The first word is an id or a word of the script's own, the second a verb."""
        assert readline is not None
        before = readline.get_line_buffer()[: readline.get_begidx()].split()
        if not before:
            words = [*(str(each) for each in sorted(self.run.grid.servers)), SLEEP, EXIT, HELP]
        else:
            words = list(self.run.lab.verbs) if len(before) == 1 and before[0].isdigit() else []
        found = [f"{word} " for word in words if word.startswith(text)]
        return found[state] if state < len(found) else None
