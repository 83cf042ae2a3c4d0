"""Rows as prompts: what is drawn from, what rewards get, and the order of the epochs."""

from __future__ import annotations

import json

import pytest

from tunesmith.config.read import load_settings_from
from tunesmith.data.prepare import prepare_data
from tunesmith.errors import DataError
from tunesmith.models.preprocessing.processor import load_preprocessor
from tunesmith.train.grpo.prompts import find_prompts

ROWS = [
    {"messages": [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}], "level": "easy"},
    {"messages": [{"role": "user", "content": "Say <|im_end|>"}], "level": "odd"},
    {"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}], "level": "easy"},
]


def prompts_of(folder, tmp_path, rows=ROWS, **changes):
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    given = {"model_name_or_path": str(folder), "dataset": str(tmp_path / "rows.json"), "output_dir": "run"}
    given |= {"stage": "grpo", "reward_funcs": "format", "per_device_train_batch_size": 8, **changes}
    settings = load_settings_from(given, verb="train")
    return find_prompts(prepare_data(settings, load_preprocessor(settings.model, settings.media)), settings.data)


def test_a_prompt_ends_where_the_model_answers(qwen2_folder, tmp_path) -> None:
    prompts = prompts_of(qwen2_folder, tmp_path)
    first = prompts[0]
    assert first.text.endswith("<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n")
    assert (first.reference, first.row["level"]) == ("2", "easy")
    assert [message.role for message in first.conversation.messages] == ["user"]
    assert prompts[1].reference is None


def test_the_ids_are_the_encoders_own(qwen2_folder, tmp_path) -> None:
    prompts = prompts_of(qwen2_folder, tmp_path)
    encoder, tokenizer = prompts.data.encoder, prompts.data.preprocessor.tokenizer
    for number in range(len(prompts)):
        prompt = prompts[number]
        assert prompt.ids.tolist() == encoder.encode_prompt(prompt.conversation).input_ids.tolist()
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert prompts[1].ids.tolist().count(end) == prompts[0].ids.tolist().count(end)  # the row's own is text


def test_every_epoch_has_every_prompt_in_an_order_of_its_own(qwen2_folder, tmp_path) -> None:
    rows = [{"messages": [{"role": "user", "content": f"Say {number}"}]} for number in range(20)]
    prompts = prompts_of(qwen2_folder, tmp_path, rows)
    orders = [prompts.of_epoch(epoch) for epoch in (0, 1, 0)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(20))
    assert orders[0] == orders[2] != orders[1]
    assert prompts_of(qwen2_folder, tmp_path, rows, disable_shuffling=True).of_epoch(1) == list(range(20))


def test_an_answer_gets_the_thoughts_tag_back_that_its_prompt_began(qwen2_folder, tmp_path) -> None:
    prompt = prompts_of(qwen2_folder, tmp_path)[0]
    assert prompt.answered("4", [1]).text == "4"
    thinking = type(prompt)(prompt.conversation, prompt.text + "<think>\n", prompt.ids, "2", {})
    assert thinking.answered("so</think><answer>2</answer>", [1]).text == "<think>\nso</think><answer>2</answer>"


def test_no_prompt_left_is_said(qwen2_folder, tmp_path) -> None:
    with pytest.raises(DataError, match=r"no usable row is left of .*rows.json"):
        prompts_of(qwen2_folder, tmp_path, cutoff_len=5)
