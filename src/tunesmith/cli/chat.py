"""`tunesmith chat`: a model in the terminal. The chat itself is `tunesmith.infer.chat`'s."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tunesmith import log
from tunesmith.chat.message import MediaKind
from tunesmith.cli.arguments import split_arguments
from tunesmith.cli.imports import importing

_MEDIA: tuple[MediaKind, ...] = ("image", "video", "audio")

HELP = """tunesmith chat [run.yaml | FOLDER] [options] [key=value | --key value]...

Talks to a model: the one a YAML file describes (what was trained into its output_dir, if anything), a run folder, one
of its checkpoints, an adapter or a model folder. Answers appear as they are made and are kept as the conversation.

  --prompt TEXT   answer this one question, print the answer alone, and stop
  --image PATH    an image for the (first) question; may stand several times, as --video PATH and --audio PATH may
  --system TEXT   a system message

While talking: /image PATH, /video PATH, /audio PATH, /clear, /system TEXT, /save FILE.json, /help, /exit. Ctrl-C stops
an answer.
Common: temperature=0.95 (0: always the likeliest), top_p, top_k, max_new_tokens, repetition_penalty, seed, template.

  tunesmith chat runs/first temperature=0.2
  tunesmith chat runs/first --image cat.jpg --prompt "What is in the picture?"
  tunesmith chat --model_name_or_path Qwen/Qwen2.5-VL-3B-Instruct --adapter_name_or_path saves/lora --template qwen2_vl
"""


class _Console:
    """Standard input and output; what is not part of an answer goes to stderr where no person reads along."""

    def __init__(self) -> None:
        self.interactive = sys.stdin.isatty() and sys.stdout.isatty()
        if self.interactive:
            import readline  # noqa: F401 - gives input() its line editing and history

    def read(self) -> str | None:
        try:
            return input("> ") if self.interactive else input()
        except EOFError:
            return None

    def write(self, text: str) -> None:
        print(text, end="", flush=True)

    def say(self, text: str) -> None:
        print(text, file=sys.stdout if self.interactive else sys.stderr, flush=True)


def run(argv: Sequence[str]) -> int:
    """Talk, or answer one question with --prompt."""
    arguments = split_arguments(argv, switches=("help",), options=("prompt", *_MEDIA, "system"))
    if "help" in arguments.switches or "-h" in argv:
        print(HELP, end="")
        return 0
    from tunesmith.config.read import check_settings

    check_settings(arguments.target, arguments.overrides, verb="chat")
    log.set_up()
    with importing():
        from tunesmith.infer.chat import ChatRequest, chat

    request = ChatRequest(
        arguments.target,
        arguments.overrides,
        prompt=arguments.option("prompt"),
        media=[(kind, path) for kind in _MEDIA for path in arguments.options.get(kind, ())],
        system=arguments.option("system"),
    )
    console = _Console()
    return chat(request, console, interactive=console.interactive)
