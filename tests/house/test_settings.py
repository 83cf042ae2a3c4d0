"""No setting is silently ignored: code reads every field, and every other known key is noted or refused."""

from __future__ import annotations

import ast

from tests.house.tree import MODULES, SOURCE, parse
from tunesmith.config.fields import FIELDS
from tunesmith.config.known import load_known_keys

# Fields that only checks read: a value that is not supported yet is refused, so the one left needs no code.
REFUSED_BY_CHECKS = {"infer_backend", "quantization_method", "stage"}
# Fields that code asks for by what the settings make of them.
ANSWERED_BY = {"packing": "packs", "neat_packing": "packs"}


def _names_read() -> set[str]:
    """Every attribute that code outside the settings package reads."""
    return {
        node.attr
        for path in MODULES
        if path.relative_to(SOURCE).parts[0] != "config"
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }


def test_every_field_is_acted_on() -> None:
    names = _names_read()
    read = {field for field in FIELDS if ANSWERED_BY.get(field, field) in names}
    assert set(FIELDS) - read - REFUSED_BY_CHECKS == set()


def test_what_only_checks_read_is_limited_to_what_works() -> None:
    assert set(load_known_keys().limited) >= REFUSED_BY_CHECKS


def test_every_key_that_is_no_field_is_noted_or_refused_when_used() -> None:
    known = load_known_keys()
    assert all(known.noted.values())
    assert all(row.instead for row in (*known.later.values(), *known.limited.values()))
    assert not any(row.allows("a value nobody would take for off") for row in known.later.values())
