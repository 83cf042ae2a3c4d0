"""Answers to prompts with images: TRL sees what training and chat see."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.train.runs import metrics_without_times, run, run_settings
from tunesmith.config.read import load_settings_from
from tunesmith.data.encoding.encoded import IGNORED
from tunesmith.errors import DataError
from tunesmith.train.grpo.following import Follower
from tunesmith.train.grpo.judge import Judge
from tunesmith.train.grpo.prepare import DrawingRun, prepare_drawing
from tunesmith.train.grpo.run import _build_keeper, _build_trainer


def write_pictures(folder, *, without: int | None = None, text: str = ""):
    """Four rows, each with a picture of its own size and colour, but for row `without`."""
    rows = []
    for number in range(4):
        picture = folder / f"{number}.png"
        Image.new("RGB", (56 + 28 * (number % 2), 56), (60 * number, 90, 200)).save(picture)
        has_picture = number != without
        question = f"{'<image>' if has_picture else ''}Colour {number}?{text}"
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": "Blue."}]
        rows.append({"messages": messages, "images": [str(picture)] if has_picture else []})
    (folder / "rows.json").write_text(json.dumps(rows))
    return folder / "rows.json"


def seeing(model, rows, output, **changes):
    return {
        **run_settings(model, rows, output),
        "stage": "grpo",
        "reward_funcs": "regex: [a-e]",
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 1,
        "num_generations": 2,
        "max_completion_length": 5,
        **changes,
    }


@pytest.mark.parametrize("without", [None, 2], ids=["all", "not all"])
def test_rows_with_images_are_learned_from(qwen2_5_vl_folder, tmp_path, without) -> None:
    rows = write_pictures(tmp_path, without=without)
    run(seeing(qwen2_5_vl_folder, rows, tmp_path / "run", max_steps=2, logging_steps=1))
    norms = [line["grad_norm"] for line in metrics_without_times(tmp_path / "run")]
    assert len(norms) == 2
    assert all(norm > 0 for norm in norms)


@pytest.mark.parametrize("without", [None, 2], ids=["all", "not all"])
def test_probabilities_are_those_of_tunesmiths_own_batches(qwen2_5_vl_folder, tmp_path, without) -> None:
    rows = write_pictures(tmp_path, without=without)
    settings = load_settings_from(seeing(qwen2_5_vl_folder, rows, tmp_path / "run"), verb="train")
    drawing = prepare_drawing(settings)
    judge = Judge(drawing.prompts, drawing.rewards, drawing.decode)
    trainer = _build_trainer(drawing, judge, _build_keeper(drawing), Follower(0))
    order = [0, 0, 1, 1, 2, 2, 3, 3]
    asked = [{"prompt": str(number), "number": number} for number in order]
    drawn = trainer._generate_and_score_completions(trainer.data_collator(asked))
    with torch.no_grad():
        found, _, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model,
            torch.cat([drawn["prompt_ids"], drawn["completion_ids"]], dim=1),
            torch.cat([drawn["prompt_mask"], drawn["completion_mask"]], dim=1),
            drawn["completion_ids"].shape[1],
            **{key: drawn[key] for key in ("pixel_values", "image_grid_thw", "mm_token_type_ids", "num_images")},
        )
    for row, number in enumerate(order):
        ids = drawn["completion_ids"][row][drawn["completion_mask"][row].bool()].tolist()
        assert tuple(ids) == judge.answers[row].ids
        torch.testing.assert_close(found[row, : len(ids)], own_probabilities(drawing, number, ids))


def own_probabilities(drawing: DrawingRun, number: int, ids: list[int]) -> torch.Tensor:
    """(A,) log-probabilities of an answer's tokens, by the batch that training and chat would make."""
    examples = drawing.data.examples
    prompt = drawing.data.encoder.trace(examples.conversation(drawing.prompts.refs[number])).encoded
    whole = np.concatenate([prompt.input_ids, np.asarray(ids, dtype=np.int32)])
    types = None if prompt.token_types is None else np.concatenate([prompt.token_types, np.zeros(len(ids), np.int8)])
    encoded = replace(prompt, input_ids=whole, labels=np.full(len(whole), IGNORED), token_types=types)
    batch = drawing.data.collator(packed=False)([encoded], [examples.media(encoded)])
    with torch.no_grad():
        logits = drawing.model(**batch.inputs).logits[0, -len(ids) - 1 : -1]
    return logits.log_softmax(-1).gather(-1, torch.tensor(ids)[:, None])[:, 0]


def test_text_that_would_become_a_special_token_is_refused(qwen2_5_vl_folder, tmp_path) -> None:
    rows = write_pictures(tmp_path, text=" <|im_end|>")
    with pytest.raises(DataError, match=r"rows.json, row \d: TRL reads this prompt with images otherwise"):
        run(seeing(qwen2_5_vl_folder, rows, tmp_path / "run", max_steps=1))
