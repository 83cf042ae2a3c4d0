"""Samples of no row: which kinds a model needs, and what a batch is completed with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.data.conversations import assistant, build_encoder, conversation, picture, user
from tunesmith.config.data import DataSettings
from tunesmith.config.stages import RowKind
from tunesmith.data.batches.ballast import NO_ROW, Ballast, build_ballast, has_terms
from tunesmith.data.batches.collate import Collator
from tunesmith.data.batches.media_inputs import MediaInputs
from tunesmith.data.encoding.encode import Encoder, build_template
from tunesmith.data.encoding.encoded import IGNORED, Encoded
from tunesmith.errors import RunError
from tunesmith.models.preprocessing.processor import Preprocessor

PreprocessorOf = Callable[[str], Preprocessor]
BOTH = frozenset({"image", "video"})


def ballast_of(preprocessor: Preprocessor, rows: RowKind = "conversations") -> Ballast:
    data = DataSettings()
    encoder = Encoder(preprocessor, build_template(preprocessor, data, rows), data, rows)
    return build_ballast(encoder, MediaInputs(preprocessor))


@pytest.fixture
def qwen(preprocessor_of: PreprocessorOf) -> Preprocessor:
    return preprocessor_of("qwen2_5_vl")


def text(preprocessor: Preprocessor) -> Encoded:
    return build_encoder(preprocessor).encode(conversation(user("hello"), assistant("there")))


def test_a_kind_that_goes_in_by_the_tensors_of_another_is_that_kind(preprocessor_of: PreprocessorOf) -> None:
    apart = {"image": {"image"}, "video": {"video"}}
    together = {"image": {"image"}, "video": {"image"}}
    for kind, runs in (("qwen2_5_vl", apart), ("minicpmv_2_6", together), ("qwen2_audio", {"audio": {"audio"}})):
        assert ballast_of(preprocessor_of(kind)).runs == runs


def test_a_video_with_its_sound_runs_audio_too(preprocessor_of: PreprocessorOf) -> None:
    omni = preprocessor_of("qwen2_5_omni")
    ballast = ballast_of(replace(omni, media=omni.media.model_copy(update={"use_audio_in_video": True})))
    assert ballast.runs["video"] == {"audio", "video"}
    carriers = ballast.completed([text(omni)], frozenset({"audio", "video"}))[1:]
    assert [[medium.kind for medium in carrier.media] for carrier in carriers] == [["video"]]


def test_only_what_a_batch_lacks_is_added(qwen: Preprocessor) -> None:
    ballast, plain = ballast_of(qwen), text(qwen)
    pictured = build_encoder(qwen).encode(conversation(user(picture(64, 64), "what?"), assistant("a picture")))
    assert ballast.completed([plain], frozenset()) == (plain,)
    assert ballast.completed([pictured], frozenset({"image"})) == (pictured,)
    assert ballast.completed([pictured], BOTH) == (pictured, ballast.carriers["video"])
    assert ballast.completed([plain], BOTH) == (plain, ballast.carriers["image"], ballast.carriers["video"])
    assert ballast.completed([], BOTH)[0] is ballast.filler


def test_what_has_nothing_in_the_loss_is_given_the_filler(qwen: Preprocessor) -> None:
    ballast, plain = ballast_of(qwen), text(qwen)
    mute = replace(plain, labels=plain.labels * 0 + IGNORED)
    assert has_terms([plain]) and not has_terms([mute]) and not has_terms([])
    assert ballast.completed([mute], frozenset()) == (mute, ballast.filler)


@pytest.mark.parametrize("rows", ["conversations", "documents", "pairs", "verdicts"])
@pytest.mark.parametrize("packed", [True, False])
def test_a_filler_alone_is_a_batch_of_every_stage(qwen: Preprocessor, rows: RowKind, packed: bool) -> None:
    ballast = ballast_of(qwen, rows)
    samples = ballast.completed([], BOTH)
    collator = Collator(qwen, MediaInputs(qwen), packed=packed, shared=True)
    batch = collator(samples, [[medium for medium in sample.media] for sample in samples])
    num_answers = {"pairs": 2, "verdicts": 1}.get(rows, 0)
    assert (batch.sources, batch.refs, batch.num_tokens) == ((), (), 0)
    assert batch.num_supervised == max(num_answers, 1)
    assert (0 if batch.answers is None else len(batch.answers.ends)) == num_answers
    assert (batch.mismatched is not None) == (rows == "verdicts")
    assert {"pixel_values", "pixel_values_videos"} <= batch.inputs.keys()


def test_carriers_are_the_same_in_every_process_and_stand_in_no_row(qwen: Preprocessor) -> None:
    one, other = ballast_of(qwen), ballast_of(qwen, "pairs")
    for kind in ("image", "video"):
        carrier = one.carriers[kind]
        assert carrier.input_ids.tolist() == other.carriers[kind].input_ids.tolist()
        assert carrier.media == other.carriers[kind].media
        assert carrier.source == NO_ROW and carrier.ref is None and not carrier.num_supervised


def test_a_kind_without_a_carrier_is_an_error_when_it_is_needed(qwen: Preprocessor) -> None:
    ballast = replace(ballast_of(qwen), carriers={}, refused={"image": "too small"})
    with pytest.raises(RunError, match=r"refuses a tiny one: too small. Train with parallel: ddp"):
        ballast.completed([text(qwen)], frozenset({"image"}))
