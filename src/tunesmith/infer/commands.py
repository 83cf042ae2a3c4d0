"""What a line that begins with a slash does in a chat.

Each command is one function from the session and the rest of the line to what is said in reply.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tunesmith.chat.message import MediaKind
from tunesmith.errors import UsageError
from tunesmith.infer.session import ChatSession
from tunesmith.infer.transcript import save_conversation

EXIT_WORDS = frozenset({"exit", "quit", "/exit", "/quit"})

_EXAMPLES: dict[MediaKind, str] = {
    "image": "path/to/picture.jpg",
    "video": "path/to/clip.mp4",
    "audio": "path/to/speech.wav",
}


@dataclass(frozen=True, slots=True)
class Command:
    """`usage` is how it is typed, `purpose` one line for /help."""

    usage: str
    purpose: str
    act: Callable[[ChatSession, str], str]


def is_command(line: str) -> bool:
    """Whether a line is meant as a command: a slash and a letter, so that a path or `//` can still be asked about."""
    word = line.split(maxsplit=1)[0] if line.strip() else ""
    return word.startswith("/") and word[1:].isalpha()


def obey(session: ChatSession, line: str) -> str:
    """Carry out a command line and return the reply. Raises UsageError for an unknown one."""
    word, _, argument = line.strip().partition(" ")
    command = COMMANDS.get(word)
    if command is None:
        near = difflib.get_close_matches(word, COMMANDS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UsageError(f"there is no command {word}; {hint}/help lists them")
    return command.act(session, argument.strip())


def _attach(session: ChatSession, argument: str, *, kind: MediaKind) -> str:
    path = argument.strip("'\"")
    if not path:
        raise UsageError(f"/{kind} needs a file: /{kind} {_EXAMPLES[kind]}")
    description = session.attach(path, kind=kind)
    return f"attached {path} ({description}); it goes with your next message"


def _clear(session: ChatSession, argument: str) -> str:
    del argument
    session.clear()
    return "cleared: the next message starts a new conversation"


def _save(session: ChatSession, argument: str) -> str:
    if not argument:
        raise UsageError("/save needs a file name: /save chat.json")
    if not session.messages:
        raise UsageError("/save: nothing has been said yet")
    save_conversation(session.conversation, Path(argument).expanduser())
    return f"saved {len(session.messages)} messages to {argument}"


def _system(session: ChatSession, argument: str) -> str:
    if not argument:
        return f"system message: {session.system}" if session.system else "there is no system message"
    session.system = None if argument.lower() == "none" else argument
    session.clear()
    return "system message " + ("removed" if session.system is None else "set") + "; the conversation starts anew"


def _help(session: ChatSession, argument: str) -> str:
    del session, argument
    width = max(len(command.usage) for command in COMMANDS.values())
    lines = [f"{command.usage.ljust(width)}  {command.purpose}" for command in COMMANDS.values()]
    return "\n".join([*lines, f"{'/exit'.ljust(width)}  leave (Ctrl-D and exit do too); Ctrl-C stops an answer"])


COMMANDS = {
    "/image": Command("/image PATH", "attach an image to the next message", partial(_attach, kind="image")),
    "/video": Command("/video PATH", "attach a video to the next message", partial(_attach, kind="video")),
    "/audio": Command("/audio PATH", "attach a sound to the next message", partial(_attach, kind="audio")),
    "/clear": Command("/clear", "forget the conversation", _clear),
    "/system": Command("/system [TEXT|none]", "show, set or remove the system message", _system),
    "/save": Command("/save FILE.json", "write the conversation as messages that train back in", _save),
    "/help": Command("/help", "this list", _help),
}
