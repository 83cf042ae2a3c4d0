"""Every key of LLaMA-Factory, transformers, MiniCPM-V and XTuner is known, and stands in one table."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from tunesmith.config.fields import FIELDS
from tunesmith.config.known import Unbuilt, load_known_keys, nearest_key

PEER_KEYS: dict[str, str] = yaml.safe_load(Path(__file__).with_name("peer_keys.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("peer", PEER_KEYS)
def test_every_key_of_the_peers_is_known(peer: str) -> None:
    assert set(PEER_KEYS[peer].split()) - load_known_keys().names() == set()


def test_every_key_of_the_installed_transformers_is_known() -> None:
    from transformers import Seq2SeqTrainingArguments

    names = {field.name for field in dataclasses.fields(Seq2SeqTrainingArguments)}
    assert names - load_known_keys().names() == set()


def test_every_key_stands_in_one_table() -> None:
    known = load_known_keys()
    tables = [set(FIELDS), set(known.aliases), set(known.noted), set(known.later)]
    assert sum(map(len, tables)) == len(known.names())
    assert set(known.limited) <= set(FIELDS)


def test_an_alias_means_a_field_or_a_later_key() -> None:
    known = load_known_keys()
    assert {alias.key for alias in known.aliases.values()} <= {*FIELDS, *known.later}


def test_what_is_allowed_of_a_limited_field_is_among_its_choices() -> None:
    for key, row in load_known_keys().limited.items():
        assert set(row.allowed) < set(FIELDS[key].choices)
        assert FIELDS[key].default in row.allowed


def test_off_values_pass_and_others_do_not() -> None:
    packing, ratio = Unbuilt(allowed=(False,), instead="leave it out"), Unbuilt(allowed=(0,), instead="leave it out")
    assert [packing.allows(value) for value in (False, None, "none", True, 0)] == [True, True, True, False, False]
    assert [ratio.allows(value) for value in (0, 0.0, 0.1, False)] == [True, True, False, False]


@pytest.mark.parametrize(
    ("typo", "key"),
    [
        ("lerning_rate", "learning_rate"),
        ("lora_ranks", "lora_rank"),
        ("training.learning_rate", "learning_rate"),
        ("optim.lerning_rate", "learning_rate"),
        ("packng", "packing"),
        ("per_device_batch_size", "per_device_eval_batch_size"),
        ("xyzzy", None),
    ],
)
def test_the_nearest_key(typo: str, key: str | None) -> None:
    assert nearest_key(typo) == key
