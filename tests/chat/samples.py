"""Templates and conversations that the tests of this folder share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunesmith.chat.message import Conversation, Media, Message, Part, Role, Text, ToolCall
from tunesmith.chat.render import Rendered
from tunesmith.chat.template import ChatTemplate, bundled_names, load_bundled

SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
TEMPLATES = Path(__file__).parent / "templates"
OWN_NAMES = sorted(path.stem for path in TEMPLATES.glob("*.jinja"))
BUNDLED_NAMES = bundled_names()

WEATHER: dict[str, Any] = {
    "name": "get_weather",
    "description": "天气: weather of a <city>",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "The city"}},
        "required": ["city"],
    },
}


def own(name: str, **options: Any) -> ChatTemplate:
    """A model's own template, from templates/."""
    source = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
    return ChatTemplate(source, special_tokens=SPECIAL_TOKENS, name=name, options=options)


def bundled(name: str, **options: Any) -> ChatTemplate:
    """A bundled template, by the name `template:` takes."""
    return ChatTemplate(load_bundled(name), special_tokens=SPECIAL_TOKENS, name=name, options=options)


def any_template(name: str) -> ChatTemplate:
    """`own:NAME` or `bundled:NAME`."""
    origin, _, rest = name.partition(":")
    return own(rest) if origin == "own" else bundled(rest)


ALL_NAMES = [f"own:{name}" for name in OWN_NAMES] + [f"bundled:{name}" for name in BUNDLED_NAMES]


def message(role: Role, *parts: str | Part, **fields: Any) -> Message:
    """A message of text and media: `message("user", image(), "What is it?")`."""
    return Message(role, tuple(Text(part) if isinstance(part, str) else part for part in parts), **fields)


def image(name: str = "cat.png") -> Media:
    return Media("image", name)


def talk(*texts: str, system: str | None = None) -> Conversation:
    """user, assistant, user, … in turn, after `system` where it is given."""
    first = [message("system", system)] if system is not None else []
    roles: tuple[Role, Role] = ("user", "assistant")
    return Conversation((*first, *(message(roles[index % 2], text) for index, text in enumerate(texts))))


def tool_talk() -> Conversation:
    """A question, a call of a tool, its result, an answer."""
    return Conversation(
        messages=(
            message("user", "Rain in 北京?"),
            message("assistant", tool_calls=(ToolCall("get_weather", {"city": '北京 "x"', "days": 2}),)),
            message("tool", '{"rain": true}'),
            message("assistant", "Yes ☔"),
        ),
        tools=(WEATHER,),
    )


def supervised(rendered: Rendered) -> list[str]:
    """The supervised texts."""
    return [rendered.text[start:end] for start, end in rendered.supervised]


def literal(rendered: Rendered) -> list[str]:
    """The literal texts."""
    return [rendered.text[start:end] for start, end in rendered.literal]
