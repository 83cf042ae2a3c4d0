"""What of processes and engines contradicts itself, or cannot be had together.

Pure functions from values to messages, as in `checks`; a DeepSpeed JSON that the settings name is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tunesmith.config.deepspeed import (
    find_differing,
    find_unknown,
    is_stand_in,
    load_deepspeed_keys,
    note_ignored,
    read_deepspeed,
)
from tunesmith.config.fsdp2_checks import check_fsdp2
from tunesmith.config.resolve import Values
from tunesmith.errors import UsageError


def check_parallel(values: Values) -> Iterator[str]:
    """What contradicts itself, and what is wrong with the DeepSpeed JSON."""
    yield from _engines(values)
    yield from check_fsdp2(values)
    yield from _deepspeed(values)
    if _engine(values) == "deepspeed":
        yield from _with_deepspeed(values)


def note_parallel(values: Values) -> Iterator[str]:
    """Given keys that have no effect with the engine at hand, and keys of the JSON that have none."""
    engine = _engine(values)
    if values["cpu_offload"] and engine == "ddp":
        yield "cpu_offload: it has no effect with parallel: ddp; use fsdp2 or deepspeed"
    if not values["reshard_after_forward"] and engine in {"ddp", "deepspeed"}:
        yield f"reshard_after_forward: it has no effect with parallel: {engine}"
    if engine == "deepspeed" and values["pure_bf16"]:
        yield "pure_bf16: deepspeed keeps float32 masters beside its bfloat16 weights, as bf16 does"
    if engine == "deepspeed" and _stage(values) == 1 and any(values[key] for key in ("bf16", "pure_bf16", "fp16")):
        yield "deepspeed: ZeRO-1 in 16 bits runs as ZeRO-2, which adds gradients up in float32"
    if values["deepspeed"] is not None:
        yield from (f"deepspeed: {line}" for line in note_ignored(_content(values)))


def settle_deepspeed(values: Values) -> Values:
    """`values` with a DeepSpeed JSON in the place of its path, so that a run folder holds what it ran with.

    A file that is not there but has a peer's name for what it means is noted; one that cuts nothing (stage 0) means
    replicas.
    """
    given = values.given.get("deepspeed")
    if given is None or given.value is None:
        return values
    name, content = given.value, _content(values)
    notes = list(values.notes)
    if is_stand_in(name, beside=_beside(values)):
        notes.append(f"deepspeed: {name} is not there; what such a file holds is taken: {_describe(content)}")
    changed = dict(values.given)
    if not (content.get("zero_optimization") or {}).get("stage"):
        notes.append("deepspeed: ZeRO stage 0 cuts nothing, so the processes train replicas (parallel: ddp)")
        changed["deepspeed"] = replace(given, value=None, text=None)
        changed["parallel"] = replace(given, key="parallel", value="ddp", text="ddp")
    elif not isinstance(name, Mapping) and (name.endswith(".json") or "/" in name):
        changed["deepspeed"] = replace(given, value=content, text=None)
    return Values(given=changed, notes=tuple(notes))


def _describe(content: Mapping[str, Any]) -> str:
    zero = content["zero_optimization"]
    return f"zero{zero['stage']}" + ("_offload" if "offload_optimizer" in zero else "")


def _engine(values: Values) -> str:
    """The engine, as far as the settings say."""
    return "deepspeed" if values["deepspeed"] is not None else str(values["parallel"])


def _engines(values: Values) -> Iterator[str]:
    parallel = values["parallel"]
    if values["deepspeed"] is not None and parallel not in {"auto", "deepspeed"}:
        yield (
            f"{values.where('deepspeed')}: deepspeed and parallel: {parallel} name two engines; leave one of them out"
        )


def _deepspeed(values: Values) -> Iterator[str]:
    value = values["deepspeed"]
    if value is None:
        return
    where = values.where("deepspeed")
    if not isinstance(value, str | Mapping):
        yield f"{where} is {value!r}; expected zero2 or the like, a path, or a mapping"
        return
    try:
        content = _content(values)
    except UsageError as error:
        yield f"{where}: {error}"
        return
    name = value if isinstance(value, str) else "the mapping"
    yield from (f"{where}: {name}: {line}" for line in find_unknown(content))
    yield from _differing(values, content, name=name)


def _differing(values: Values, content: Mapping[str, Any], *, name: str) -> Iterator[str]:
    ours = load_deepspeed_keys().ours.values()
    settings = {key: values[key] for key in {*ours, "adam_beta1", "adam_beta2"}}
    settings["bf16"] = values["bf16"] or values["pure_bf16"]
    for key, value, setting in find_differing(content, settings):
        given = values.given.get(setting)
        place = f"{given.place} says" if given else "the settings say (by default)"
        yield (
            f"{values.where('deepspeed')}: {name} says {key}: {_shown(value)}, and {place} {setting}: "
            f'{_shown(settings[setting])}; write "auto" into {name}, or the same number'
        )


def _with_deepspeed(values: Values) -> Iterator[str]:
    """What DeepSpeed cannot do."""
    if values["stage"] == "grpo":
        yield f"{values.where('deepspeed', 'parallel')}: stage grpo does not train with deepspeed yet; leave it out"
    if values["torch_compile"]:
        yield f"{values.where('torch_compile')}: torch_compile does not go with deepspeed; leave one of them out"
    if str(values["optim"]).startswith("paged_") or "8bit" in str(values["optim"]):
        yield f"{values.where('optim')}: optim: {values['optim']} does not go with deepspeed; use adamw_torch"
    if values["optim"] == "adafactor":
        yield (
            f"{values.where('optim')}: adafactor looks at whole matrices, and deepspeed cuts them into pieces; use "
            "adamw_torch"
        )
    if values["quantization_bit"] and _stage(values) == 3:
        yield (
            f"{values.where('quantization_bit')}: ZeRO-3 cannot cut quantised weights; use deepspeed: zero2, which "
            "cuts gradients and optimiser, or parallel: ddp"
        )


def _stage(values: Values) -> int | None:
    """ZeRO's; None where it cannot be read, which is said elsewhere."""
    if values["deepspeed"] is None:
        return 2
    try:
        return int((_content(values).get("zero_optimization") or {}).get("stage", 0))
    except (UsageError, TypeError, ValueError):
        return None


def _content(values: Values) -> dict[str, Any]:
    return read_deepspeed(values["deepspeed"], beside=_beside(values))


def _beside(values: Values) -> Path:
    """The folder of the file that gave `deepspeed`; the working directory for a command line."""
    file, line, _ = values.given["deepspeed"].place.rpartition(", line ")
    return Path(file).parent if line else Path()


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
