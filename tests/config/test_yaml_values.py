"""YAML as settings files have it: numbers, lines, doubled keys."""

from __future__ import annotations

import pytest

from tunesmith.config.yaml_values import parse_value, parse_yaml
from tunesmith.errors import UsageError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1.0e-4", 1e-4),
        ("5E3", 5000.0),
        (".5", 0.5),
        ("42", 42),
        ("-1", -1),
        ("True", True),
        ("no", False),
        ("null", None),
        ("", None),
        ("q_proj,v_proj", "q_proj,v_proj"),
        (r"llm\..*layers\.\d+", r"llm\..*layers\.\d+"),
        ("[a, 2]", ["a", 2]),
        ('{"num_cycles": 0.5}', {"num_cycles": 0.5}),
        ("[qk]_proj", "[qk]_proj"),
        ("key: value # not YAML here", "key: value # not YAML here"),
        ("2024-13-45", "2024-13-45"),
    ],
)
def test_a_word_of_a_command_line_means_what_yaml_says(text: str, value: object) -> None:
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


def test_every_key_comes_with_its_line_and_its_own_text() -> None:
    entries = parse_yaml("### model\nmodel_revision: 1.10\n\neval_strategy: no # never\nseed:\n", name="run.yaml")
    assert [(entry.key, entry.value, entry.text, entry.place) for entry in entries] == [
        ("model_revision", 1.1, "1.10", "run.yaml, line 2"),
        ("eval_strategy", False, "no", "run.yaml, line 4"),
        ("seed", None, None, "run.yaml, line 5"),
    ]


def test_anchors_and_merged_mappings_work() -> None:
    text = "sample_prompts: &asked [who are you, what is this]\ntwice: *asked\n"
    assert [entry.value for entry in parse_yaml(text, name="a.yaml")] == [["who are you", "what is this"]] * 2


def test_an_empty_file_has_no_settings() -> None:
    assert parse_yaml("# nothing here\n", name="run.yaml") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nbf16: true\nseed: 2\n", "run.yaml, line 3: seed stands on line 1 too; keep one of the two"),
        ("- a\n- b\n", "run.yaml, line 1: expected lines like `learning_rate: 1.0e-4`"),
        ("seed: 1\n bf16: true\n", "run.yaml, line 2: this is not valid YAML"),
        ("seed: 1\nname: [a\n", "run.yaml, line 3: this is not valid YAML"),
        ("\tseed: 1\n", "run.yaml, line 1: this is not valid YAML"),
        ("seed: !!python/object:os.system x\n", "run.yaml, line 1: this is not valid YAML"),
        ("seed: \x00\n", "run.yaml: this is not valid YAML"),
    ],
)
def test_broken_yaml_names_file_and_line(text: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_yaml(text, name="run.yaml")
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)
