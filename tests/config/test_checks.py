"""Settings that contradict each other, or that a verb needs and has not got."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tunesmith.config.checks import check, notes
from tunesmith.config.overrides import parse_overrides
from tunesmith.config.resolve import Values, resolve
from tunesmith.errors import NotSupportedYetError, UsageError

ENOUGH = ("model_name_or_path=tiny", "dataset=rows.jsonl", "output_dir=runs/a")


def _values(words: Sequence[str]) -> Values:
    return resolve([], parse_overrides(words))


def _complaint(words: Sequence[str], verb: str) -> str | None:
    try:
        check(_values(words), verb=verb)  # type: ignore[arg-type]
    except UsageError as error:
        return str(error)
    return None


def test_the_least_that_trains() -> None:
    assert _complaint(ENOUGH, "train") is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("bf16=true fp16=true", "bf16 and fp16 are both on; keep bf16"),
        ("val_size=0.1 eval_dataset=held", "val_size and eval_dataset both hold rows out; keep one"),
        ("val_size=10.5", "val_size is 10.5; expected a share below 1 or a whole number of rows"),
        ("finetuning_type=full quantization_bit=4", "quantised weights cannot train; use finetuning_type lora"),
        ("finetuning_type=full adapter_name_or_path=a", "an adapter needs finetuning_type lora, not full"),
        ("add_tokens=<a>", "new tokens need rows in the embedding; add resize_vocab: true"),
        ("image_min_pixels=100 image_max_pixels=50", "image_min_pixels is 100, above image_max_pixels 50"),
        ("warmup_ratio=0.1 warmup_steps=5", "warmup_steps and warmup_ratio are both set; keep one"),
        ("eval_strategy=steps", "eval_strategy=steps: there are no held-out rows to evaluate; add val_size: 0.1"),
        ("do_eval=true", "do_eval: there are no held-out rows to evaluate"),
        ("do_train=false", "do_train and do_eval are both off, so there is nothing to do"),
        ("eval_steps=5", "eval_steps: there are no held-out rows to evaluate"),
        ("load_best_model_at_end=true", "nothing is evaluated; add val_size: 0.1"),
        ("early_stopping_steps=3 val_size=0.1 eval_strategy=no", "nothing is evaluated; set eval_strategy: steps"),
        ("save_strategy=best", "save_strategy=best: it needs evaluation"),
        ("vision_learning_rate=1e-5", "that part is frozen; add freeze_vision_tower: false"),
        ("projector_learning_rate=0", "that part is frozen; add freeze_multi_modal_projector: false"),
        ("sample_steps=5", "there is nothing to ask; add sample_prompts"),
        ("streaming=true", "streaming: nobody counts the rows of a stream; say with max_steps when training ends"),
        ("streaming=true max_steps=9 stage=kto", "streaming: stage kto compares each answer with another row's"),
        ("streaming=true max_steps=9 val_size=0.1", "not known with streaming; give a whole number of rows"),
        ("mix_strategy=interleave_over interleave_probs=0.7,x", "is 0.7,x; expected numbers above 0, like 0.7,0.3"),
        ("mix_strategy=interleave_over interleave_probs=1,0", "is 1,0; expected numbers above 0, like 0.7,0.3"),
        ("dataset=a,b mix_strategy=interleave_over interleave_probs=1", "has 1 numbers for 2 datasets; give each one"),
        ("mix_strategy=interleave_over interleave_probs=1", "there is one dataset, and nothing to draw from"),
        ("interleave_probs=1", "mix_strategy concat takes all rows; use interleave_under, interleave_over or"),
        ("packing=true batch_tokens=9000", "packing and batch_tokens both fill micro-batches; keep one"),
        ("neat_packing=true batch_tokens=9000", "neat_packing and batch_tokens both fill micro-batches; keep one"),
    ],
)
def test_contradictions_name_the_key_and_the_cure(words: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        check(_values([*ENOUGH, *words.split()]), verb="train")
    assert message in str(raised.value)
    assert str(raised.value).startswith("command line: ")


@pytest.mark.parametrize(
    "words",
    [
        "val_size=0.1 eval_strategy=epoch load_best_model_at_end=true early_stopping_steps=3",
        "val_size=100 eval_steps=10",
        "warmup_ratio=0.1 warmup_steps=0",
        "freeze_vision_tower=false vision_learning_rate=1e-5",
        "add_tokens=<a> resize_vocab=true",
        "quantization_bit=4 adapter_name_or_path=a,b",
        "streaming=true max_steps=10 val_size=100 buffer_size=1000",
        "dataset=a,b mix_strategy=interleave_once interleave_probs=3,1e-1",
        "batch_tokens=2048",
        "packing=true neat_packing=true group_by_length=false",
    ],
)
def test_what_fits_together_passes(words: str) -> None:
    assert _complaint([*ENOUGH, *words.split()], "train") is None


def test_evaluation_alone_needs_no_training_rows() -> None:
    words = ["model_name_or_path=tiny", "output_dir=runs/a", "eval_dataset=held", "do_train=false", "do_eval=true"]
    assert _complaint(words, "train") is None


@pytest.mark.parametrize(
    ("verb", "missing"),
    [
        ("train", ["model_name_or_path", "dataset", "output_dir"]),
        ("data", ["model_name_or_path", "dataset"]),
        ("chat", ["model_name_or_path"]),
        ("export", ["model_name_or_path", "export_dir"]),
    ],
)
def test_each_verb_names_everything_it_lacks(verb: str, missing: list[str]) -> None:
    with pytest.raises(UsageError) as raised:
        check(_values([]), verb=verb)  # type: ignore[arg-type]
    assert [line.split(" is missing; add a line like `")[0] for line in str(raised.value).splitlines()] == missing


def test_a_run_folder_knows_its_model() -> None:
    assert _complaint(["output_dir=runs/a"], "chat") is None
    assert _complaint(["output_dir=runs/a", "export_dir=merged"], "export") is None


def test_one_of_several_processes_is_refused_where_a_stage_trains_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    check(_values(ENOUGH), verb="train")
    two = ["num_generations=2", "per_device_train_batch_size=2"]
    with pytest.raises(NotSupportedYetError, match="WORLD_SIZE=2: stage grpo trains in one process"):
        check(_values([*ENOUGH, "stage=grpo", "reward_funcs=exact_match", *two]), verb="train")


def test_settings_beside_others_that_decide_are_noted() -> None:
    assert list(notes(_values(["packing=true", "group_by_length=true", "buffer_size=9"]))) == [
        "group_by_length: it has no effect with packing",
        "buffer_size: it has no effect without streaming; all rows are shuffled among each other",
    ]
    assert list(notes(_values(["batch_tokens=4096", "per_device_train_batch_size=4"]))) == [
        "per_device_train_batch_size: it has no effect with batch_tokens"
    ]
    assert list(notes(_values(["batch_tokens=1000"]))) == [
        "batch_tokens: longer examples (up to cutoff_len 2048) make a micro-batch each"
    ]
    assert list(notes(_values(["streaming=true", "buffer_size=9", "group_by_length=true"]))) == []


def test_a_document_is_learned_whole_whatever_is_said_of_answers() -> None:
    assert list(notes(_values(["stage=pt", "mask_history=true", "train_on_prompt=true", "group_by_length=true"]))) == [
        "mask_history: it has no effect with stage pt; all text of a document is in the loss",
        "train_on_prompt: it has no effect with stage pt; all text of a document is in the loss",
    ]


def test_settings_of_another_method_are_noted() -> None:
    values = _values(["finetuning_type=full", "lora_rank=16", "lora_dropout=0", "freeze_trainable_layers=4"])
    assert list(notes(values)) == [
        "lora_rank: it has no effect with finetuning_type full",
        "freeze_trainable_layers: it has no effect with finetuning_type full",
    ]


def test_settings_of_packed_frames_need_them() -> None:
    words = ["packing_maxlen=2", "double_frame_duration=10", "time_scale=0.2"]
    assert list(notes(_values(words))) == [
        "packing_maxlen: it has no effect without enable_high_fps",
        "double_frame_duration: it has no effect without enable_high_fps",
    ]
    assert list(notes(_values([*words, "enable_high_fps=true"]))) == []
