"""Sound of MiniCPM-o: features, token counts and embeddings are those of the published code (golden/audio.json)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import WhisperConfig, WhisperFeatureExtractor

from tests.models.families.minicpmv.known_weights import give_known_weights
from tests.models.families.minicpmv.sounds import RATE, SOUNDS, sound, tone
from tests.tiny import minicpm_audio
from tunesmith.models.families.minicpmv.audio import (
    SoundProjector,
    SoundTower,
    chunk_frames_of,
    chunk_mask,
    longest_pieces,
    pool_to_tokens,
)
from tunesmith.models.families.minicpmv.audio_features import (
    ProcessedSound,
    SoundLayout,
    process_sounds,
    read_sound_layout,
)

GOLDEN: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "golden/audio.json").read_text())
EXTRACTOR = WhisperFeatureExtractor(feature_size=minicpm_audio.NUM_MEL_BINS)


def tower(attention: str = "sdpa") -> SoundTower:
    settings = minicpm_audio.config()["audio_config"]
    config = WhisperConfig(**{name: value for name, value in settings.items() if name != "torch_dtype"})
    config._attn_implementation = attention
    built = SoundTower(config)
    give_known_weights(built, "apm.")
    return built.eval()


def projector() -> SoundProjector:
    built = SoundProjector(32, 128)
    give_known_weights(built, "audio_projection_layer.")
    return built


@torch.no_grad()
def embed(sounds: Sequence[np.ndarray], hearing: SoundTower) -> Tensor:
    """(tokens of all sounds, 128), as the model makes them."""
    processed = process_sounds(sounds, EXTRACTOR)
    lens = torch.cat([one.feature_lens for one in processed])
    clip_lens = longest_pieces(lens, torch.tensor([len(one.feature_lens) for one in processed]))
    features = torch.cat([one.features for one in processed])
    states = hearing(features, lens, clip_lens, chunk_frames=chunk_frames_of(1.0))
    return pool_to_tokens(projector().to(states.dtype)(states), lens, pool_step=2)


def runs_of(processed: ProcessedSound) -> list[int]:
    return [run.count("<unk>") for run in processed.text.split("<|audio_start|>")[1:]]


@pytest.mark.parametrize("name", SOUNDS)
def test_features_are_those_of_the_published_processor(name: str) -> None:
    golden, processed = GOLDEN[name], process_sounds([sound(name)], EXTRACTOR)[0]
    lens = processed.feature_lens.tolist()

    assert lens == golden["feature_lens"]
    assert processed.features.shape == (len(lens), minicpm_audio.NUM_MEL_BINS, 3000)
    assert processed.features.double().sum((1, 2)).tolist() == pytest.approx(golden["mel_sums"], abs=0.01)
    assert processed.features[0, :, 0].tolist() == pytest.approx(golden["mel_first_frame"], abs=1e-4)
    assert processed.features[-1, :, lens[-1] - 1].tolist() == pytest.approx(golden["mel_last_frame"], abs=1e-4)
    assert not processed.features[-1, :, lens[-1] :].any()


@pytest.mark.parametrize("name", SOUNDS)
def test_placeholders_are_those_of_the_published_processor(name: str) -> None:
    apart, together = (
        process_sounds([sound(name)], EXTRACTOR, chunk_input=chunk_input)[0] for chunk_input in (True, False)
    )

    assert runs_of(apart) == GOLDEN[name]["runs"]
    assert runs_of(together) == [GOLDEN[name]["one_run"]]
    assert together.text.startswith("<|audio_start|><unk>")
    assert together.text.endswith("<unk><|audio_end|>")


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", SOUNDS)
def test_embeddings_are_those_of_the_published_model(name: str, attention: str) -> None:
    golden, found = GOLDEN[name], embed([sound(name)], tower(attention))
    places = sorted({0, len(found) // 2, len(found) - 1})

    assert len(found) == golden["one_run"]
    assert found[places, :8].tolist() == [pytest.approx(values, abs=1e-4) for values in golden["embeddings"]]
    assert float(found.double().sum()) == pytest.approx(golden["embedding_sum"], abs=0.05)


def test_what_a_sound_is_batched_with_changes_nothing() -> None:
    hearing, sounds = tower().double(), [sound(name) for name in SOUNDS]
    alone = torch.cat([embed([one], hearing) for one in sounds])

    assert torch.allclose(embed(sounds, hearing), alone, atol=1e-10)


@pytest.mark.parametrize("pool_step", [2, 5])
@pytest.mark.parametrize(
    "num_samples", [480 * RATE // 16 + extra for extra in (-161, -1, 0, 1, 159, 480, 481, 480_001)]
)
def test_pieces_become_as_many_tokens_as_the_published_count_over_the_whole_sound(
    num_samples: int, pool_step: int
) -> None:
    frames = (-(-num_samples // 160) - 1) // 2 + 1
    published = (frames - pool_step) // pool_step + 1

    processed = process_sounds([np.zeros(num_samples, np.float32)], EXTRACTOR, pool_step=pool_step)[0]

    assert runs_of(processed) == [published]
    assert int(((processed.feature_lens + 1) // 2 // pool_step).sum()) == published


def test_random_lengths_are_counted_as_published() -> None:
    for num_samples in np.random.default_rng(0).integers(RATE, 70 * RATE, 30).tolist():
        frames = (-(-num_samples // 160) - 1) // 2 + 1
        processed = process_sounds([np.zeros(num_samples, np.float32)], EXTRACTOR, chunk_input=True)[0]

        assert sum(runs_of(processed)) == frames // 2


def test_sound_too_short_for_a_token_is_refused() -> None:
    assert runs_of(process_sounds([tone(321, 440)], EXTRACTOR)[0]) == [1]
    with pytest.raises(ValueError, match=r"a sound of 320 samples is too short for one token: it takes 321 samples"):
        process_sounds([tone(320, 440)], EXTRACTOR)


def test_sound_of_another_rate_or_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="sound at 44100 samples a second was given, the model hears 16000"):
        process_sounds([tone(RATE, 440)], EXTRACTOR, sampling_rate=44_100)
    with pytest.raises(ValueError, match=r"sound of shape \(2, 16000\) was given"):
        process_sounds([np.stack([tone(RATE, 440)] * 2)], EXTRACTOR)


def test_a_frame_sees_its_second_and_what_was_before() -> None:
    lens = torch.tensor([6])

    seen = chunk_mask(lens, lens, num_frames=3, chunk_frames=2)[0, 0].int().tolist()
    all_of_it = chunk_mask(lens, lens, num_frames=3, chunk_frames=0)[0, 0].int().tolist()

    assert seen == [[1, 1, 0], [1, 1, 0], [1, 1, 1]]
    assert all_of_it == [[1, 1, 1]] * 3


def test_the_last_piece_of_a_long_clip_sees_as_much_silence_as_the_published_mask_lets_it() -> None:
    seen = chunk_mask(torch.tensor([3]), torch.tensor([12]), num_frames=6, chunk_frames=0)[0, 0, 0]

    assert seen.tolist() == [True, True, True, False, False, False]


@pytest.mark.parametrize(
    ("config", "layout"),
    [
        ({"version": 2.6, "audio_pool_step": 2, "chunk_input": True}, SoundLayout(2, chunk_input=True)),
        ({"version": 2.6}, SoundLayout(2, chunk_input=True)),
        ({"version": "4.5", "audio_pool_step": 5, "stream_input": True}, SoundLayout(5, chunk_input=False)),
        ({"version": 2.6, "chunk_input": False}, SoundLayout(2, chunk_input=False)),
    ],
)
def test_the_layout_is_the_one_that_inference_uses(config: dict[str, Any], layout: SoundLayout) -> None:
    assert read_sound_layout(config) == layout


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable:FutureWarning")  # renamed in newer versions
def test_it_learns_with_gradient_checkpointing_as_without() -> None:
    def gradient(*, checkpointing: bool) -> Tensor:
        hearing = tower().train()
        if checkpointing:
            hearing.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        lens = torch.tensor([100, 60])
        features = torch.linspace(-1, 1, 2 * 16 * 100).reshape(2, 16, 100)
        hearing(features, lens, lens, chunk_frames=50).square().sum().backward()
        weight = hearing.layers[0].self_attn.q_proj.weight.grad
        assert weight is not None
        assert weight.abs().sum() > 0
        return weight

    assert torch.equal(gradient(checkpointing=True), gradient(checkpointing=False))


def test_it_hears_in_half_precision() -> None:
    lens = torch.tensor([100, 60])
    features = torch.linspace(-1, 1, 2 * 16 * 100).reshape(2, 16, 100)
    full = tower()(features, lens, lens, chunk_frames=50)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = tower()(features, lens, lens, chunk_frames=50)
    pure = tower().to(torch.bfloat16)(features, lens, lens, chunk_frames=50)

    assert pure.dtype == torch.bfloat16
    assert (mixed.float() - full).norm() / full.norm() < 0.02
    assert (pure.float() - full).norm() / full.norm() < 0.02
