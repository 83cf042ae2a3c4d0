"""The chat loop: lines in, answers out as they come.

Knows nothing of keyboards or files; `Terminal` is what it talks to, and the command line brings one.
"""

from __future__ import annotations

from contextlib import closing
from typing import Protocol

from tunesmith.errors import TunesmithError
from tunesmith.infer.commands import EXIT_WORDS, is_command, obey
from tunesmith.infer.session import ChatSession


class Terminal(Protocol):
    """Where lines come from and text goes."""

    def read(self) -> str | None:
        """The next line without its end, or None at the end of input. Raises KeyboardInterrupt on Ctrl-C."""
        ...

    def write(self, text: str) -> None:
        """Show a piece of an answer at once."""
        ...

    def say(self, text: str) -> None:
        """Show a line that is not part of an answer."""
        ...


def converse(session: ChatSession, terminal: Terminal) -> int:
    """Read and answer until the end of input or an exit word; the number of lines that ended in an error."""
    num_failed = 0
    while (line := _next_line(terminal)) is not None:
        if line.strip().lower() in EXIT_WORDS:
            break
        if not line.strip():
            continue
        try:
            if is_command(line):
                terminal.say(obey(session, line))
            else:
                tell_answer(session, line, terminal)
        except TunesmithError as error:
            num_failed += 1
            terminal.say(f"error: {error}")
    return num_failed


def tell_answer(session: ChatSession, text: str, terminal: Terminal) -> None:
    """Stream the answer to `text`. Ctrl-C stops the answer, keeps what was said, and returns."""
    try:
        with closing(session.say(text)) as pieces:
            for piece in pieces:
                terminal.write(piece)
    except KeyboardInterrupt:
        terminal.write(" [stopped]")
    terminal.write("\n")


def _next_line(terminal: Terminal) -> str | None:
    while True:
        try:
            return terminal.read()
        except KeyboardInterrupt:
            terminal.say("(/exit or Ctrl-D leaves)")
