"""What a configuration of XTuner's says about the model, read from its text; nothing of it is ever executed.

Assignments of literals, `dict(…)` calls and names assigned before are understood, which is what XTuner's configs and
the text that mmengine keeps in a checkpoint are made of. Whatever else stands there counts as unknown.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tunesmith.errors import UsageError

_T = TypeVar("_T")
_UNKNOWN = object()
_ALPHA_BY_DEFAULT = 8
"""PEFT's own, where a config leaves lora_alpha out."""


@dataclass(frozen=True, slots=True)
class LoraRecipe:
    """How an adapter was made, beyond what its weights show."""

    alpha: float
    dropout: float = 0.0
    use_rslora: bool = False


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """The models a training started from, and its adapters; None for what the text does not say literally.

    feature_layer:  the layer of the vision tower that is looked at, counted from the end
    pads_to_square: whether pictures were made square with a border instead of being cut
    """

    language_model: str | None = None
    vision_tower: str | None = None
    language_lora: LoraRecipe | None = None
    vision_lora: LoraRecipe | None = None
    feature_layer: int | None = None
    pads_to_square: bool | None = None


def read_training_config(file: Path) -> TrainingConfig:
    """The config in `file`. Raises UsageError if it is no Python text."""
    try:
        return parse_training_config(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, SyntaxError) as error:
        raise UsageError(
            f"the config {file} cannot be read ({error}); give XTuner's .py file, or leave it out"
        ) from error


def parse_training_config(text: str) -> TrainingConfig:
    """The config in `text`. Raises SyntaxError if it is no Python text."""
    names: dict[str, Any] = {}
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target = statement.targets[0]
            if isinstance(target, ast.Name):
                names[target.id] = _value(statement.value, names)
    model = names.get("model")
    if not isinstance(model, dict):
        return TrainingConfig()
    return TrainingConfig(
        language_model=_name_of(model.get("llm")),
        vision_tower=_name_of(model.get("visual_encoder")),
        language_lora=_recipe(model.get("lora", model.get("llm_lora"))),
        vision_lora=_recipe(model.get("visual_encoder_lora")),
        feature_layer=_of_type(model.get("visual_select_layer"), int),
        pads_to_square=_of_type(_dataset(names).get("pad_image_to_square"), bool),
    )


def _value(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """What an expression stands for, `_UNKNOWN` where it is more than a literal."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return names.get(name, _UNKNOWN)
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords):
            return {word.arg: _value(word.value, names) for word in keywords if word.arg is not None}
        case ast.Dict(keys=keys, values=values):
            pairs = zip(keys, values, strict=True)
            return {key.value: _value(value, names) for key, value in pairs if isinstance(key, ast.Constant)}
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            return [_value(element, names) for element in elements]
    return _UNKNOWN


def _dataset(names: Mapping[str, Any]) -> dict[str, Any]:
    loader = names.get("train_dataloader")
    dataset = loader.get("dataset") if isinstance(loader, dict) else None
    return dataset if isinstance(dataset, dict) else {}


def _name_of(part: Any) -> str | None:
    return _of_type(part.get("pretrained_model_name_or_path"), str) if isinstance(part, dict) else None


def _of_type(value: Any, kind: type[_T]) -> _T | None:
    return value if isinstance(value, kind) else None


def _recipe(lora: Any) -> LoraRecipe | None:
    if not isinstance(lora, dict):
        return None
    alpha, dropout = lora.get("lora_alpha", _ALPHA_BY_DEFAULT), lora.get("lora_dropout", 0.0)
    if not isinstance(alpha, int | float):
        return None
    return LoraRecipe(
        alpha, dropout if isinstance(dropout, int | float) else 0.0, use_rslora=lora.get("use_rslora") is True
    )
