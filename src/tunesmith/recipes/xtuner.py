"""XTuner's config names: which recipe stands for one, and what it changes.

`{model}_{full|lora|qlora}_{dataset}_e{epochs}` is read part by part; `xtuner.toml` says what the parts stand for.
LLaVA's names have the two models and the stage instead.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources

from tunesmith.errors import NotSupportedYetError
from tunesmith.recipes.recipe import matches

_TOWER = "openai/clip-vit-large-patch14-336"
_EPOCHS = re.compile(r"(?:^|_)e(\d+)(?=_|$)")
_LENGTH = re.compile(r"(?:^|_)(\d+)([kM])(?=_|$)")
_PRETRAINING = "text_pretrain"
_OF_THE_TOWER = ("vision_lora_rank", "vision_lora_alpha", "vision_learning_rate")
_OF_ADAPTERS = ("quantization_bit", "lora_rank", "lora_alpha", "lora_dropout", "vision_lora_rank", "vision_lora_alpha")


@dataclass(slots=True)
class Reading:
    """What a name was found to mean.

    changes: settings that differ from the recipe's; None: the recipe's line goes
    notes:   what the name asks for and a file cannot hold
    """

    recipe: str
    changes: dict[str, str | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_name(name: str) -> Reading | None:
    """The recipe for one of XTuner's names; None for a name that is none of them.

    Raises NotSupportedYetError for one that asks for what is not there, with what to do instead.
    """
    if name in _table("journeys"):
        return Reading(_table("journeys")[name])
    _refuse(name)
    is_llava = name.startswith("llava_")
    model = _longest(name.removeprefix("llava_"), [*_table("chat_models"), *_table("base_models")])
    if model is None:
        return None
    rest = name.removeprefix("llava_")[len(model) :].strip("_")
    return _read_llava(name, model, rest) if is_llava else _read_text(name, model, rest)


def find_models(pattern: str) -> list[str]:
    """The models in XTuner's names that fit `pattern`, as the names spell them."""
    models = {**_table("chat_models"), **_table("base_models")}
    return sorted(model for model in models if matches(pattern, model))


def _read_text(name: str, model: str, rest: str) -> Reading:
    method = next((word for word in ("qlora", "lora", "full") if word in rest.split("_")), "full")
    stage = next((_table("stages")[word] for word in _table("stages") if f"_{word}_" in f"_{rest}_"), None)
    reading = Reading(stage or _table("methods")[method], {"model_name_or_path": _hub_name(model)})
    if model in _table("base_models") and stage != _PRETRAINING:
        reading.changes["template"] = "default"
    if stage is None:
        _read_dataset(rest, reading)
    else:
        _read_stage(stage, method, rest, reading)
    _read_numbers(rest, reading)
    if "int8" in rest.split("_"):
        reading.changes["quantization_bit"] = "8"
    if re.search(r"(?:^|_)(sp\d+|sequence_parallel)", rest):
        reading.notes.append("sequences are not split over several GPUs; cutoff_len must fit into one")
    reading.changes["output_dir"] = f"saves/{name}"
    return reading


def _read_stage(stage: str, method: str, rest: str, reading: Reading) -> None:
    """How the weights train, in a recipe of another stage; the rows are the user's own."""
    trains_all = stage == _PRETRAINING
    if method == "full" and not trains_all:
        reading.changes |= {"finetuning_type": "full", "lora_rank": None}
        reading.changes["learning_rate"] = _table("full_learning_rates")[stage]
    if method == "qlora":
        reading.changes["quantization_bit"] = "4"
        reading.changes |= {"finetuning_type": "lora", "learning_rate": "2.0e-4"} if trains_all else {}
    for dataset in ("ultrafeedback", "skypile"):
        if dataset in rest.split("_"):
            reading.notes.append(f"{dataset}: set `dataset` to its rows; the recipe's line names a file of your own")


def _read_dataset(rest: str, reading: Reading) -> None:
    datasets = [*_table("hub_datasets"), *_table("other_datasets"), *_table("own_datasets")]
    found = max((word for word in datasets if f"_{word}_" in f"_{rest}_"), key=len, default="")
    if found in _table("hub_datasets"):
        reading.changes |= {"dataset": _table("hub_datasets")[found], "dataset_dir": "ONLINE"}
    elif found in _table("other_datasets"):
        why = _table("other_datasets")[found]
        reading.notes.append(f"{found}: {why}; write its rows as messages into data/train.jsonl")
    if found == "oasst1_512":
        reading.changes["cutoff_len"] = "512"


def _read_numbers(rest: str, reading: Reading) -> None:
    epochs, length = _EPOCHS.search(rest), _LENGTH.search(rest)
    if epochs:
        reading.changes["num_train_epochs"] = epochs[1]
    if length:
        reading.changes["cutoff_len"] = str(int(length[1]) * (1024 if length[2] == "k" else 1024 * 1024))


def _read_llava(name: str, model: str, rest: str) -> Reading:
    stage_1 = f"saves/llava_{model}_pretrain"
    if "pretrain" in rest.split("_"):
        composed = f"models/llava_{model}"
        reading = Reading("llava_pretrain", {"model_name_or_path": composed, "output_dir": stage_1})
        parts = f"--language_model {_hub_name(model)} --vision_tower {_TOWER} --output {composed}"
        reading.notes.append(f"write the model it starts from: tunesmith compose llava {parts}")
    else:
        reading = Reading("llava_finetune", {"model_name_or_path": stage_1, "output_dir": f"saves/{name}"})
        _read_llava_method(rest, reading)
    for dataset in ("sharegpt4v", "internvl", "refcoco"):
        if dataset in rest.split("_"):
            reading.notes.append(f"{dataset}: set `dataset` to its file in LLaVA's own form, and media_dir")
    _read_numbers(rest, reading)
    return reading


def _read_llava_method(rest: str, reading: Reading) -> None:
    """Stage 2 of a name: which part trains how."""
    language, _, tower = rest.partition("_336_")
    words = tower.split("_")
    if "qlora" in language.split("_") or "finetune_lora" in rest:
        tower_trains = "lora" in words
    else:
        reading.changes |= {"finetuning_type": "full", "learning_rate": "2.0e-5", **dict.fromkeys(_OF_ADAPTERS)}
        tower_trains = "full" in words
        if "lora" in words:
            reading.notes.append("beside a language model in full the tower cannot have an adapter: it stays as it is")
    if not tower_trains:
        reading.changes |= {"freeze_vision_tower": "true", **dict.fromkeys(_OF_THE_TOWER)}


def _refuse(name: str) -> None:
    """Raise for a model or a part of a name that no recipe carries out."""
    model = _longest(name.removeprefix("llava_"), _table("refused_models"))
    part = next((part for part in _table("refused_parts") if f"_{part}_" in f"_{name}_"), None)
    reason = _table("refused_models").get(model or "") or _table("refused_parts").get(part or "")
    if reason:
        raise NotSupportedYetError(f"{name}: {reason}")


def _hub_name(model: str) -> str:
    return {**_table("chat_models"), **_table("base_models")}[model]


def _longest(name: str, starts: Iterable[str]) -> str | None:
    return max((start for start in starts if name.startswith(start)), key=len, default=None)


def _table(title: str) -> Mapping[str, str]:
    return _tables()[title]


@lru_cache(maxsize=1)
def _tables() -> Mapping[str, Mapping[str, str]]:
    file = resources.files("tunesmith.recipes") / "xtuner.toml"
    tables: dict[str, dict[str, str]] = tomllib.loads(file.read_text(encoding="utf-8"))
    return tables
