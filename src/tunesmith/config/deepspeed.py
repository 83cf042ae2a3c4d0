"""What `deepspeed` says: a name (zero2, zero3_offload), a DeepSpeed JSON, or the same as a mapping.

A JSON becomes a `ZeroPlan`: what DeepSpeed is to be told beside what the settings say. Where both say a number, the
settings' counts, and a JSON that says another is refused. Knows nothing of torch or of DeepSpeed itself.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tunesmith.config.yaml_values import load_yaml
from tunesmith.errors import UsageError

AUTO = "auto"
_TABLE = Path(__file__).with_name("deepspeed_keys.yaml")
_NAME = re.compile(r"(?:deepspeed_|ds_)?(?:config_)?z(?:ero)?([0-3])(_offload)?(?:_config)?(?:\.json)?", re.IGNORECASE)
"""zero2, deepspeed_zero3_offload (XTuner), ds_z3_offload_config.json (LLaMA-Factory), ds_config_zero2.json."""
_OFFLOAD = {"device": "cpu", "pin_memory": True}
_OPTIMIZERS = {"adam", "adamw"}
_NOT_ASKED_FOR = (None, False, 0, 1, AUTO)


@dataclass(frozen=True, slots=True)
class ZeroPlan:
    """What is cut over the processes, and where it lies.

    stage:             of ZeRO: 1 optimiser, 2 gradients too, 3 weights too; 0 nothing
    offload_optimizer: masters and optimiser in the host's memory; offload_param: weights too (stage 3)
    sections:          what DeepSpeed is told: its own nested keys, "auto" among the values
    train_batch_size:  what the rows of a step must come to over all processes; None where nobody says
    """

    stage: int
    offload_optimizer: bool
    offload_param: bool
    sections: Mapping[str, Any] = field(default_factory=dict)
    train_batch_size: int | None = None


@dataclass(frozen=True, slots=True)
class DeepSpeedKeys:
    """deepspeed_keys.yaml."""

    ours: Mapping[str, str]
    passed: frozenset[str]
    ignored: Mapping[str, str]
    refused: Mapping[str, str]

    def names(self) -> set[str]:
        """Every dotted key that a JSON may have."""
        return {*self.ours, *self.passed, *self.ignored, *self.refused, "train_batch_size", "optimizer.params.betas"}


@cache
def load_deepspeed_keys() -> DeepSpeedKeys:
    """The table, read once."""
    table = load_yaml(_TABLE.read_text(encoding="utf-8"))
    return DeepSpeedKeys(table["ours"], frozenset(table["passed"]), table["ignored"], table["refused"])


def read_deepspeed(value: str | Mapping[str, Any], *, beside: Path) -> dict[str, Any]:
    """The nested keys that a value of `deepspeed` stands for.

    A path is looked for from the working directory and from `beside`, the folder of the settings file; a file that is
    not there but is named as the peers name theirs (ds_z3_config.json) stands for what they mean by it.
    Raises UsageError where there is no such file, or none that can be read.
    """
    if isinstance(value, Mapping):
        return dict(value)
    file = _find(value, beside) if _is_path(value) else None
    if file is not None:
        return _read_json(file)
    match = _NAME.fullmatch(Path(value).name)
    if match is None:
        raise UsageError(_describe_missing(value))
    return _named(int(match[1]), offload=match[2] is not None)


def is_stand_in(value: Any, *, beside: Path) -> bool:
    """Whether `value` is the path of a file that is not there, whose name is taken for what it says."""
    if not isinstance(value, str) or not _is_path(value):
        return False
    return _find(value, beside) is None and _NAME.fullmatch(Path(value).name) is not None


def plan_zero(value: str | Mapping[str, Any] | None, *, cpu_offload: bool = False, beside: Path = Path()) -> ZeroPlan:
    """The plan of a value of `deepspeed`; None is zero2. Raises UsageError for files that cannot be read."""
    content = read_deepspeed("zero2" if value is None else value, beside=beside)
    zero = dict(content.get("zero_optimization") or {})
    stage = int(zero.get("stage", 0))
    optimizer = cpu_offload or _offloads(zero, "offload_optimizer")
    weights = stage == 3 and (cpu_offload or _offloads(zero, "offload_param"))
    rows = content.get("train_batch_size")
    return ZeroPlan(stage, optimizer, weights, _to_pass_on(content), None if rows in (None, AUTO) else int(rows))


def dotted(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of nested keys by its dotted name; comments (`_comment`) left out. Sections in the table are one."""
    table = load_deepspeed_keys()
    for key, value in content.items():
        name = prefix + key
        if key.startswith("_"):
            continue
        if isinstance(value, Mapping) and name not in table.refused and name not in table.ignored:
            yield from dotted(value, f"{name}.")
        else:
            yield name, value


def find_unknown(content: Mapping[str, Any]) -> Iterator[str]:
    """A line for every key that DeepSpeed does not have, or that Tunesmith does not do with it."""
    table = load_deepspeed_keys()
    known = table.names()
    for name, value in dotted(content):
        if name in table.refused:
            if not _asks_for_nothing(value):
                yield f"{name} is not supported with deepspeed; {table.refused[name]}"
        elif name not in known and not name.startswith(("optimizer.", "scheduler.")):
            near = difflib.get_close_matches(name, known, n=1)
            yield f"unknown key {name}" + (f"; did you mean {near[0]}?" if near else "; remove it")
    yield from _find_wrong_values(content)


def find_differing(content: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """(dotted key, its value, the setting) of every number that the settings, by flat key, have otherwise."""
    ours = load_deepspeed_keys().ours
    for name, value in dotted(content):
        if name in ours and value not in (AUTO, None) and not _equal(value, settings[ours[name]]):
            yield name, value, ours[name]
        if name == "optimizer.params.betas" and value not in (AUTO, None):
            for given, key in zip(value, ("adam_beta1", "adam_beta2"), strict=False):
                if not _equal(given, settings[key]):
                    yield name, value, key


def note_ignored(content: Mapping[str, Any]) -> Iterator[str]:
    """A line for every key without effect that asks for something."""
    table = load_deepspeed_keys()
    for name, value in dotted(content):
        if name in table.ignored and not _asks_for_nothing(value) and name not in _USUAL:
            yield f"{name}: it has no effect; {table.ignored[name]}"
    if kind := (content.get("scheduler") or {}).get("type"):
        yield f"scheduler: {kind} is not used; lr_scheduler_type and warmup_ratio decide"


_USUAL = {
    "zero_allow_untested_optimizer",
    "steps_per_print",
    "fp16.hysteresis",
    "zero_optimization.stage3_gather_16bit_weights_on_model_save",
}
"""What nearly every JSON has, and nobody misses."""


def _find_wrong_values(content: Mapping[str, Any]) -> Iterator[str]:
    zero = content.get("zero_optimization") or {}
    if zero.get("stage", 0) not in (0, 1, 2, 3):
        yield f"zero_optimization.stage is {zero['stage']!r}; expected 0, 1, 2 or 3"
    for section in ("offload_optimizer", "offload_param"):
        device = (zero.get(section) or {}).get("device", "none")
        if device not in ("cpu", "none"):
            yield f"zero_optimization.{section}.device is {device}, which is not supported; use cpu or none"
    optimizer = content.get("optimizer") or {}
    if str(optimizer.get("type", "adamw")).lower() not in _OPTIMIZERS:
        yield f"optimizer.type is {optimizer['type']}; remove the section and choose by optim"
    for key, value in ((content.get("scheduler") or {}).get("params") or {}).items():
        if value not in (AUTO, None):
            yield f"scheduler.params.{key} is {value}; write auto, and set lr_scheduler_type and warmup_ratio"


def _is_path(value: str) -> bool:
    return value.endswith(".json") or "/" in value or _NAME.fullmatch(value) is None


def _find(value: str, beside: Path) -> Path | None:
    path = Path(value).expanduser()
    return next((found for found in (path, beside / path) if found.is_file()), None)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise UsageError(f"{file}, line {error.lineno}: this is not valid JSON: {error.msg}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: byte {error.start} is not UTF-8; save the file as UTF-8 text") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    if not isinstance(content, dict):
        raise UsageError(f'{file}: expected an object like {{"zero_optimization": {{"stage": 2}}}}')
    return content


def _describe_missing(value: str) -> str:
    names = "zero1, zero2, zero3, each with _offload or without"
    if _is_path(value) and not value.isalnum():
        return f"{value} does not exist (seen from {Path.cwd()}); give a DeepSpeed JSON, or one of {names}"
    near = difflib.get_close_matches(value, ["zero1", "zero2", "zero3", "zero2_offload", "zero3_offload"], n=1)
    return f"{value} is neither a file nor one of {names}" + (f"; did you mean {near[0]}?" if near else "")


def _named(stage: int, *, offload: bool) -> dict[str, Any]:
    zero: dict[str, Any] = {"stage": stage}
    if offload and stage:
        zero["offload_optimizer"] = dict(_OFFLOAD)
    if offload and stage == 3:
        zero["offload_param"] = dict(_OFFLOAD)
    return {"zero_optimization": zero}


def _offloads(zero: Mapping[str, Any], section: str) -> bool:
    return str((zero.get(section) or {}).get("device", "none")) == "cpu"


def _to_pass_on(content: Mapping[str, Any]) -> dict[str, Any]:
    passed = load_deepspeed_keys().passed
    nested: dict[str, Any] = {}
    for name, value in dotted(content):
        if name in passed and value is not None:
            *sections, key = name.split(".")
            place = nested
            for section in sections:
                place = place.setdefault(section, {})
            place[key] = value
    return nested


def _asks_for_nothing(value: Any) -> bool:
    if isinstance(value, Mapping):
        return not value or value.get("enabled") is False
    return value in _NOT_ASKED_FOR


def _equal(given: Any, own: Any) -> bool:
    if isinstance(given, bool) or isinstance(own, bool):
        return bool(given) == bool(own)
    try:
        return math.isclose(float(given), float(own), rel_tol=1e-9)
    except (TypeError, ValueError):
        return bool(given == own)
