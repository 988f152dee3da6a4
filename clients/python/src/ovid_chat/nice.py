"""Lines by prompt_toolkit: with completion, and one line about now below."""

from __future__ import annotations

from collections.abc import Iterable

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.patch_stdout import patch_stdout

from ovid_chat.talk import Quit, Talk


async def read_lines(talk: Talk) -> None:
    """Hands lines to `talk` until the user ends."""
    session: PromptSession[str] = PromptSession(
        completer=_Words(talk), complete_while_typing=False, bottom_toolbar=talk.status, refresh_interval=0.5
    )
    with patch_stdout():
        while True:
            try:
                line = await session.prompt_async(talk.prompt)
                await talk.line(line)
            except KeyboardInterrupt:
                continue
            except (EOFError, Quit):
                return


class _Words(Completer):
    """Completes commands and names."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        text = document.text_before_cursor
        start = -len(text.split(" ")[-1])
        for choice in self._talk.completions(text):
            yield Completion(choice + " ", start, display=choice)
