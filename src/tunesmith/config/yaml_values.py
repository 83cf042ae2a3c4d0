"""YAML as settings use it: one level of keys with their lines, and single values of a command line.

Reads as OmegaConf does for LLaMA-Factory: YAML 1.1, except that `1e-4` is a number. Knows no key by name.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from tunesmith.config.given import Given
from tunesmith.errors import UsageError

try:
    from yaml import CSafeLoader as SafeLoader
except ImportError:  # a PyYAML built without libyaml
    from yaml import SafeLoader  # type: ignore[assignment]


class _Loader(SafeLoader):
    """YAML 1.1 plus YAML 1.2's floats."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9][0-9_]*)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)
_NULL = "tag:yaml.org,2002:null"


def parse_yaml(text: str, *, name: str) -> list[Given]:
    """The top-level keys of a YAML document, in order; `name` is what messages call the file.

    Raises UsageError with file and line where the text is not YAML, not `key: value` lines, or has a key twice.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return []
        if not isinstance(node, yaml.MappingNode):
            raise UsageError(f"{name}, line {_line(node)}: expected lines like `learning_rate: 1.0e-4`")
        loader.flatten_mapping(node)
        return _read_entries(loader, node, name)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UsageError(f"{name}, line {line}: this is not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{name}: this is not valid YAML: {' '.join(str(error).split())}") from None


def load_yaml(text: str) -> Any:
    """A YAML document of our own, as plain Python values."""
    return yaml.load(text, Loader=_Loader)


def parse_value(text: str) -> Any:
    """What `text` means as a YAML value: a scalar, or a list or mapping in brackets; otherwise the text itself."""
    if text[:1] in {"[", "{"}:
        try:
            return load_yaml(text)
        except yaml.YAMLError:
            return text  # a regular expression may begin with a bracket
    loader = _Loader("")
    tag: str = loader.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    node = yaml.ScalarNode(tag=tag, value=text)
    try:
        return loader.construct_object(node)
    except (ValueError, yaml.YAMLError):
        return text


def _read_entries(loader: _Loader, node: yaml.MappingNode, name: str) -> list[Given]:
    lines: dict[str, int] = {}
    entries = []
    for key_node, value_node in node.value:
        key, line = str(key_node.value), _line(key_node)
        if key in lines:
            raise UsageError(f"{name}, line {line}: {key} stands on line {lines[key]} too; keep one of the two")
        lines[key] = line
        entries.append(_read_entry(loader, value_node, key=key, place=f"{name}, line {line}"))
    return entries


def _read_entry(loader: _Loader, node: yaml.Node, *, key: str, place: str) -> Given:
    text = node.value if isinstance(node, yaml.ScalarNode) and node.tag != _NULL else None
    try:
        value = loader.construct_object(node, deep=True)
    except ValueError:  # 2024-13-45 looks like a date and is none
        value = text
    return Given(key=key, value=value, text=text, place=place)


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1
