"""A chat from beginning to end: the source opened, one question answered or many, by the terminal it is given.

Knows nothing of command lines; `cli.chat` translates one into a ChatRequest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunesmith import log
from tunesmith.chat.message import MediaKind
from tunesmith.errors import UsageError
from tunesmith.infer.console import Terminal, converse, tell_answer
from tunesmith.infer.open import open_engine
from tunesmith.infer.session import ChatSession
from tunesmith.infer.source import find_source


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What the user asked for: a YAML or folder, settings on top, and for a single question its text and files."""

    target: Path | None
    overrides: Sequence[str] = ()
    prompt: str | None = None
    media: Sequence[tuple[MediaKind, str]] = ()
    system: str | None = None


def chat(request: ChatRequest, terminal: Terminal, *, interactive: bool) -> int:
    """Answer `request.prompt`, or talk until the input ends. Returns the exit status.

    Lines that failed make it 1, unless a person sat there and saw the message (`interactive`).
    """
    session = open_session(request)
    if request.prompt is not None:
        tell_answer(session, request.prompt, terminal)
        return 0
    if interactive:
        terminal.say("/help lists the commands; /exit or Ctrl-D leaves")
    num_failed = converse(session, terminal)
    return 1 if num_failed and not interactive else 0


def open_session(request: ChatRequest) -> ChatSession:
    """Load the model and attach the files. Raises UsageError, ModelError."""
    if request.prompt is not None and not request.prompt.strip() and not request.media:
        raise UsageError("--prompt is empty; give a question, or leave it out to talk in turns")
    source = find_source(request.target, request.overrides)
    settings = source.settings
    log.info(f"loading {source}")
    session = ChatSession(open_engine(source), settings.generation, system=request.system, seed=settings.training.seed)
    for kind, path in request.media:
        session.attach(path, kind=kind)
    return session
