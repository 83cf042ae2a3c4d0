"""Settings that contradict each other, or that the work at hand needs and has not got.

Each check is a pure function from values to messages. They run before the sections are built, so that a message can
name file and line, and so that it comes at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

from tunesmith import env
from tunesmith.config.fields import FIELDS
from tunesmith.config.grpo_checks import check_grpo, note_grpo
from tunesmith.config.parallel_checks import check_parallel, note_parallel
from tunesmith.config.preference_checks import check_preference, note_preference
from tunesmith.config.resolve import Values
from tunesmith.errors import NotSupportedYetError, UsageError

Verb = Literal["train", "data", "chat", "export"]
Check = Callable[[Values], Iterator[str]]

_NEEDED: dict[Verb, tuple[str, ...]] = {
    "train": ("model_name_or_path", "dataset", "output_dir"),
    "data": ("model_name_or_path", "dataset"),
    "chat": ("model_name_or_path",),
    "export": ("model_name_or_path", "export_dir"),
}
_EXAMPLES = {
    "model_name_or_path": "model_name_or_path: Qwen/Qwen2.5-VL-3B-Instruct (or a local folder)",
    "dataset": "dataset: my_data.jsonl (or a name in dataset_info.json)",
    "output_dir": "output_dir: runs/first (the run folder)",
    "export_dir": "export_dir: merged (the folder to write)",
}


def check(values: Values, *, verb: Verb | None = None) -> None:
    """Raise UsageError with a line for everything that does not fit together; `verb` adds what it needs."""
    checks = _ALWAYS + (_WHEN_TRAINING if verb == "train" else ())
    problems = [problem for find in checks for problem in find(values)]
    if verb:
        problems = [*_missing(values, verb), *problems]
    if problems:
        raise UsageError("\n".join(problems))
    if verb == "train":
        refuse_several_processes(values)


def refuse_several_processes(values: Values) -> None:
    """Raise NotSupportedYetError where this is one of several processes and the stage trains in one."""
    if values["stage"] == "grpo" and env.world_size() > 1:
        raise NotSupportedYetError(
            f"WORLD_SIZE={env.world_size()}: stage grpo trains in one process; start `tunesmith train` without torchrun"
        )


def notes(values: Values) -> Iterator[str]:
    """What was given, is not the default, and has no effect, or another than it seems, beside the other settings."""
    yield from note_grpo(values)
    yield from note_preference(values)
    yield from note_parallel(values)
    method = values["finetuning_type"]
    beside = {"group_by_length": "packing", "per_device_train_batch_size": "batch_tokens"}
    for key in (key for key in values.given if values[key] != FIELDS[key].default):
        if key.startswith(("lora_", "vision_lora_")) and method != "lora":
            yield f"{key}: it has no effect with finetuning_type {method}"
        if key.startswith("freeze_trainable_") and method != "freeze":
            yield f"{key}: it has no effect with finetuning_type {method}"
        if key in beside and values[beside[key]]:
            yield f"{key}: it has no effect with {beside[key]}"
        if key == "buffer_size" and not values["streaming"]:
            yield "buffer_size: it has no effect without streaming; all rows are shuffled among each other"
        if key in {"train_on_prompt", "mask_history"} and values["stage"] == "pt":
            yield f"{key}: it has no effect with stage pt; all text of a document is in the loss"
        if key in {"double_frame_duration", "packing_maxlen"} and not values["enable_high_fps"]:
            yield f"{key}: it has no effect without enable_high_fps"
        if key == "batch_tokens" and values[key] < values["cutoff_len"]:
            yield f"batch_tokens: longer examples (up to cutoff_len {values['cutoff_len']}) make a micro-batch each"


def _missing(values: Values, verb: Verb) -> Iterator[str]:
    known_otherwise = set()
    if verb in {"chat", "export"} and values["output_dir"]:
        known_otherwise.add("model_name_or_path")  # a run folder knows its model
    if not values["do_train"] and values["eval_dataset"]:
        known_otherwise.add("dataset")
    for key in _NEEDED[verb]:
        if not values[key] and key not in known_otherwise:
            yield f"{key} is missing; add a line like `{_EXAMPLES[key]}`"


def _precision(values: Values) -> Iterator[str]:
    if values["bf16"] and values["fp16"]:
        yield f"{values.where('bf16', 'fp16')}: bf16 and fp16 are both on; keep bf16 unless the GPU is older than 2020"
    if values["pure_bf16"] and values["fp16"]:
        yield f"{values.where('pure_bf16')}: pure_bf16 and fp16 are both on; keep one"


def _held_out_rows(values: Values) -> Iterator[str]:
    size = values["val_size"]
    if size and values["eval_dataset"]:
        yield f"{values.where('val_size')}: val_size and eval_dataset both hold rows out; keep one"
    if size > 1 and size != int(size):
        yield f"{values.where('val_size')} is {size:g}; expected a share below 1 or a whole number of rows"


def _method(values: Values) -> Iterator[str]:
    method = values["finetuning_type"]
    if method == "lora":
        return
    if values["quantization_bit"]:
        yield (
            f"{values.where('quantization_bit')}: quantised weights cannot train; "
            f"use finetuning_type lora instead of {method}, or leave quantization_bit out"
        )
    if values["adapter_name_or_path"]:
        yield (
            f"{values.where('adapter_name_or_path')}: an adapter needs finetuning_type lora, not {method}; "
            "or merge it first with `tunesmith export`"
        )


def _new_tokens(values: Values) -> Iterator[str]:
    for key in ("add_tokens", "add_special_tokens"):
        if values[key] and not values["resize_vocab"]:
            yield f"{values.where(key)}: new tokens need rows in the embedding; add resize_vocab: true"


def _image_area(values: Values) -> Iterator[str]:
    least, most = values["image_min_pixels"], values["image_max_pixels"]
    if least and most and least > most:
        yield f"{values.where('image_min_pixels')} is {least}, above image_max_pixels {most}; lower it"


def _warmup(values: Values) -> Iterator[str]:
    if values["warmup_ratio"] and values["warmup_steps"]:
        yield f"{values.where('warmup_steps')}: warmup_steps and warmup_ratio are both set; keep one"


def _nothing_to_do(values: Values) -> Iterator[str]:
    if not values["do_train"] and not values["do_eval"]:
        yield f"{values.where('do_train')}: do_train and do_eval are both off, so there is nothing to do; switch one on"


def _evaluation(values: Values) -> Iterator[str]:
    """What needs held-out rows, and evaluations of them."""
    has_rows = bool(values["val_size"] or values["eval_dataset"])
    strategy = values["eval_strategy"]
    evaluates = has_rows and strategy != "no"
    add_rows = "add val_size: 0.1 or an eval_dataset"
    if not has_rows:
        for key in ("do_eval", "eval_steps", "eval_on_start"):
            if values[key]:
                yield f"{values.where(key)}: there are no held-out rows to evaluate; {add_rows}"
        if strategy in {"steps", "epoch"}:
            yield f"{values.where('eval_strategy')}={strategy}: there are no held-out rows to evaluate; {add_rows}"
    if evaluates or not values["do_train"]:
        return
    cure = "set eval_strategy: steps" if has_rows else add_rows
    for key in ("load_best_model_at_end", "early_stopping_steps"):
        if values[key]:
            yield f"{values.where(key)}: the best model is known by evaluation, and nothing is evaluated; {cure}"
    if values["save_strategy"] == "best":
        yield f"{values.where('save_strategy')}=best: it needs evaluation, and nothing is evaluated; {cure}"


def _rates_of_parts(values: Values) -> Iterator[str]:
    for rate, freeze in (
        ("vision_learning_rate", "freeze_vision_tower"),
        ("projector_learning_rate", "freeze_multi_modal_projector"),
        ("vision_lora_rank", "freeze_vision_tower"),
        ("vision_lora_alpha", "freeze_vision_tower"),
    ):
        if values[rate] is not None and values[freeze]:
            yield f"{values.where(rate)}: that part is frozen; add {freeze}: false, or leave {rate} out"


def _questions(values: Values) -> Iterator[str]:
    if values["sample_steps"] and not values["sample_prompts"]:
        yield f"{values.where('sample_steps')}: there is nothing to ask; add sample_prompts: [a question, another]"


def _mixing(values: Values) -> Iterator[str]:
    """interleave_probs: numbers above 0, one a dataset, for a strategy that draws datasets."""
    words, datasets = _split(values["interleave_probs"]), _split(values["dataset"])
    if not words:
        return
    where = values.where("interleave_probs")
    if not all(_is_share(word) for word in words):
        yield f"{where} is {','.join(words)}; expected numbers above 0, like 0.7,0.3"
    elif len(datasets) == 1:
        yield f"{where}: there is one dataset, and nothing to draw from; leave it out"
    elif datasets and len(words) != len(datasets):
        yield f"{where} has {len(words)} numbers for {len(datasets)} datasets; give each one"
    if values["mix_strategy"] == "concat":
        yield f"{where}: mix_strategy concat takes all rows; use interleave_under, interleave_over or interleave_once"


def _split(value: Any) -> list[str]:
    """Names as their section will take them: from a list, or from text with commas."""
    parts = value if isinstance(value, list | tuple) else str(value or "").split(",")
    return [word for part in parts if (word := str(part).strip()) and word.lower() not in {"none", "null"}]


def _is_share(word: str) -> bool:
    try:
        return 0 < float(word) < math.inf
    except ValueError:
        return False


def _micro_batches(values: Values) -> Iterator[str]:
    """Two keys that both say what a micro-batch is."""
    packing = next((key for key in ("packing", "neat_packing") if values[key]), None)
    if packing and values["batch_tokens"] is not None:
        yield f"{values.where('batch_tokens')}: {packing} and batch_tokens both fill micro-batches; keep one"


def _streaming(values: Values) -> Iterator[str]:
    """Nobody has counted the rows of a stream, or knows the last of them."""
    if not values["streaming"]:
        return
    if values["stage"] == "kto":
        yield (
            f"{values.where('streaming')}: stage kto compares each answer with another row's, which a stream does not "
            "know; leave streaming out"
        )
    if 0 < values["val_size"] < 1:
        yield (
            f"{values.where('val_size')}: a share of the rows is not known with streaming; give a whole number of rows"
        )


def _end_of_stream(values: Values) -> Iterator[str]:
    if values["streaming"] and values["do_train"] and values["max_steps"] <= 0:
        yield f"{values.where('streaming')}: nobody counts the rows of a stream; say with max_steps when training ends"


_ALWAYS: tuple[Check, ...] = (
    _precision,
    _held_out_rows,
    _method,
    _new_tokens,
    _image_area,
    _mixing,
    _micro_batches,
    _streaming,
    check_preference,
    check_parallel,
)
_WHEN_TRAINING: tuple[Check, ...] = (
    _nothing_to_do,
    _warmup,
    _evaluation,
    _rates_of_parts,
    _questions,
    _end_of_stream,
    check_grpo,
)
