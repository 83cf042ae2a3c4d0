"""The two examples that a run's packing is tried on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.data.conversations import assistant, build_encoder, conversation, picture, user
from tunesmith.chat.message import Conversation
from tunesmith.config.data import DataSettings
from tunesmith.data.batches.collate import Collator
from tunesmith.data.batches.media_inputs import MediaInputs
from tunesmith.data.batches.packing_trial import build_sharing_trial, build_trial
from tunesmith.data.encoding.encode import Encoder, build_template
from tunesmith.models.packing.proof import Trial
from tunesmith.models.preprocessing.processor import Preprocessor

SHORT, LONG = "a", "a much longer question than all of the others, so that it is not taken"


def trial_of(preprocessor: Preprocessor, rows: list[Conversation]) -> tuple[Trial, list[int]]:
    """The trial, and how many tokens each of the rows has."""
    encoder, media = build_encoder(preprocessor), MediaInputs(preprocessor)
    examples = [encoder.encode(row) for row in rows]
    packed, padded = (Collator(preprocessor, media, packed=packed) for packed in (True, False))
    trial = build_trial(examples, lambda example: example.media, packed=packed, padded=padded)
    return trial, [len(example) for example in examples]


def test_the_shortest_with_media_come_first(preprocessor_of: Callable[[str], Preprocessor]) -> None:
    rows = [
        conversation(user(SHORT), assistant("b")),
        conversation(user(picture(120, 90), LONG), assistant("b"), row=1),
        conversation(user(picture(60, 90), SHORT), assistant("b"), row=2),
        conversation(user(picture(60, 90), SHORT), assistant("b c d"), row=3),
    ]
    trial, tokens = trial_of(preprocessor_of("qwen2_5_vl"), rows)
    assert trial.lengths == (tokens[2], tokens[3])
    assert trial.packed["input_ids"].shape == (1, sum(trial.lengths))
    assert trial.padded["input_ids"].shape == (2, max(trial.lengths))
    assert [inputs["input_ids"].shape[1] for inputs in trial.alone] == list(trial.lengths)
    assert [len(inputs["image_grid_thw"]) for inputs in (trial.packed, *trial.alone)] == [2, 1, 1]


def test_a_single_example_is_taken_twice(preprocessor_of: Callable[[str], Preprocessor]) -> None:
    trial, tokens = trial_of(preprocessor_of("qwen2"), [conversation(user(LONG), assistant("b"))])
    assert trial.lengths == (tokens[0], tokens[0])


def test_of_two_answers_the_first_is_packed_and_both_are_shared(preprocessor_of: Callable[[str], Preprocessor]) -> None:
    preprocessor = preprocessor_of("qwen2_5_vl")
    media, data = MediaInputs(preprocessor), DataSettings(cutoff_len=100_000)
    encoder = Encoder(preprocessor, build_template(preprocessor, data, "pairs"), data, "pairs")
    rows = [
        conversation(user(SHORT), assistant("b")),
        conversation(user(picture(60, 90), SHORT), assistant("b c d"), row=1),
        conversation(user(picture(60, 90), LONG), assistant("b"), row=2),
    ]
    pairs = [encoder.encode(replace(row, other_answer=assistant("no, not that"))) for row in rows]
    tree, packed, padded = (
        Collator(preprocessor, media, packed=packed, shared=shared)
        for packed, shared in ((True, True), (True, False), (False, False))
    )

    plain = build_trial(pairs, lambda example: example.media, packed=packed, padded=padded)
    shared = build_sharing_trial(pairs, lambda example: example.media, shared=tree, padded=padded)

    assert plain.lengths == (len(pairs[1].answer(0)), len(pairs[2].answer(0)))
    assert shared is not None
    assert (shared.lengths, shared.branches) == ((len(pairs[1]),), (pairs[1].branches,))
    assert [inputs["input_ids"].shape[1] for inputs in shared.alone] == [len(pairs[1].answer(k)) for k in (0, 1)]
    assert shared.padded["input_ids"].shape[0] == 2
    assert len(shared.packed["image_grid_thw"]) == 1
    assert build_sharing_trial([], lambda example: example.media, shared=tree, padded=padded) is None
