"""Settings of preferences that contradict the stage, or that have no effect with it."""

from __future__ import annotations

import pytest

from tunesmith.config.checks import check, notes
from tunesmith.config.overrides import parse_overrides
from tunesmith.config.resolve import Values, resolve
from tunesmith.errors import UsageError


def _values(words: str) -> Values:
    return resolve([], parse_overrides(words.split()))


def _notes(words: str) -> list[str]:
    return list(notes(_values(words)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "stage=orpo pref_loss=hinge",
            "pref_loss: stage orpo has a loss of its own, and pref_loss=hinge names another",
        ),
        ("stage=simpo pref_loss=orpo", "leave pref_loss out, or set stage: dpo"),
        ("stage=rm sample_prompts=Hello?", "stage rm trains a model that scores answers and gives none"),
        ("stage=kto kto_chosen_weight=0 kto_rejected_weight=0", "are both 0, and nothing would be learned; raise one"),
        (
            "stage=dpo model_name_or_path=base ref_model_adapters=a",
            "ref_model_adapters: there is no ref_model that it could be for; add ref_model: base (or another model), "
            "or leave ref_model_adapters out",
        ),
        ("stage=kto ref_model_quantization_bit=4", "there is no ref_model that it could be for"),
    ],
)
def test_contradictions(words: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        check(_values(words))
    assert message in str(raised.value)
    assert str(raised.value).startswith("command line: ")


@pytest.mark.parametrize(
    "words",
    [
        "stage=orpo pref_loss=orpo",
        "stage=simpo pref_loss=sigmoid",  # a run folder's run.yaml has every default
        "stage=kto kto_chosen_weight=0",
        "stage=dpo pref_loss=exo dpo_label_smoothing=0.1 ld_alpha=0.5 pref_bco_weight=1 ref_model=base",
        "stage=dpo pref_loss=simpo simpo_gamma=1 pref_beta=2 pref_ftx=0.1",
        "stage=kto pref_beta=0.2 pref_ftx=0.1 kto_rejected_weight=1.3 ref_model=base precompute_ref=true",
        "stage=rm share_prefix=false",
        "stage=sft pref_loss=sigmoid pref_beta=0.1",  # the defaults say nothing
    ],
)
def test_what_acts_is_not_noted(words: str) -> None:
    check(_values(words))
    assert _notes(words) == []


@pytest.mark.parametrize(
    ("words", "keys", "decides"),
    [
        ("stage=sft pref_loss=ipo pref_beta=0.2 pref_ftx=1", "pref_loss pref_beta pref_ftx", "stage sft"),
        ("stage=dpo pref_loss=hinge dpo_label_smoothing=0.1 simpo_gamma=1", "dpo_label_smoothing simpo_gamma", ""),
        ("stage=dpo pref_loss=orpo ld_alpha=0.5 pref_bco_weight=1", "ld_alpha pref_bco_weight", ""),
        ("stage=dpo pref_loss=simpo ref_model=a precompute_ref=true", "ref_model precompute_ref", ""),
        ("stage=simpo ref_model=a ref_model_adapters=b", "ref_model ref_model_adapters", "stage simpo"),
        ("stage=dpo kto_chosen_weight=2 kto_rejected_weight=2", "kto_chosen_weight kto_rejected_weight", "stage dpo"),
        ("stage=kto pref_loss=hinge ld_alpha=0.5 share_prefix=false", "pref_loss ld_alpha share_prefix", "stage kto"),
        ("stage=rm pref_beta=0.2 pref_ftx=1", "pref_beta pref_ftx", "stage rm"),
    ],
)
def test_what_does_not_act_is_noted(words: str, keys: str, decides: str) -> None:
    check(_values(words))
    decides = decides or next(word for word in words.split() if word.startswith("pref_loss")).replace("=", " ")
    assert _notes(words) == [f"{key}: it has no effect with {decides}" for key in keys.split()]


def test_noise_on_one_of_two_that_are_compared_is_said():
    assert len(_notes("stage=dpo neftune_noise_alpha=5")) == 1
    assert _notes("stage=sft neftune_noise_alpha=5") == _notes("stage=orpo neftune_noise_alpha=5") == []
