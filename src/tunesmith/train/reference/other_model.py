"""`ref_model`: a model of another name to compare with, loaded as the model that trains is.

Knows nothing of how it is run.
"""

from __future__ import annotations

from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from tunesmith.config.settings import Settings
from tunesmith.errors import ModelError
from tunesmith.models.load import load_model
from tunesmith.models.parts import core_model, input_embedding, weight_of
from tunesmith.models.precision import choose_precision
from tunesmith.models.preprocessing.processor import Preprocessor, load_preprocessor
from tunesmith.models.score_head import score_head
from tunesmith.models.tuning.apply import attach_adapters


def load_reference_model(model: nn.Module, settings: Settings) -> PreTrainedModel | PeftModel:
    """`ref_model` with `ref_model_adapters` in evaluation mode, in the format of weights that do not train.

    Raises ModelError where it cannot read what `model`, which learns, is given; and whatever loading raises.
    """
    theirs = reference_settings(settings)
    own_inputs = load_preprocessor(settings.model, settings.media)
    require_same_inputs(own_inputs, load_preprocessor(theirs.model, theirs.media), settings)
    reference = attach_adapters(load_model(theirs, trains=False), theirs)
    if score_head(reference) is not None:
        raise ModelError(
            f"ref_model: {settings.preference.ref_model} (or an adapter on it) is a reward model, which gives scores "
            "and has no probabilities of answers; give the language model it was trained from, or leave ref_model out"
        )
    _require_room(model, reference, settings, num_tokens=len(own_inputs.tokenizer))
    reference.requires_grad_(False)
    return reference.eval()


def reference_settings(settings: Settings) -> Settings:
    """The settings that load `ref_model` as `model_name_or_path`."""
    changes = {
        "model_name_or_path": settings.preference.ref_model,
        "adapter_name_or_path": settings.preference.ref_model_adapters,
        "quantization_bit": settings.preference.ref_model_quantization_bit,
        "train_from_scratch": False,
        "infer_dtype": str(choose_precision(settings).frozen).removeprefix("torch."),
    }
    return settings.model_copy(update={"model": settings.model.model_copy(update=changes)})


def require_same_inputs(own: Preprocessor, other: Preprocessor, settings: Settings) -> None:
    """Raises ModelError where an id stands for one token in the model and for another in ref_model, or where media are
    prepared for another kind of model.
    """
    names = f"ref_model: {settings.preference.ref_model}", f"{settings.model.model_name_or_path}"
    if type(own.processor) is not type(other.processor):
        raise ModelError(
            f"{names[0]} is given text and media in another form than {names[1]} ({_name(other)}, {_name(own)}), so "
            "the two cannot be compared on the same batch; give a ref_model of the same family, or leave ref_model out"
        )
    ids, other_ids = own.tokenizer.get_vocab(), other.tokenizer.get_vocab()
    differing = sorted(token for token in ids.keys() | other_ids.keys() if ids.get(token) != other_ids.get(token))
    if differing:
        shown = ", ".join(f"{token!r} ({other_ids.get(token)}, {ids.get(token)})" for token in differing[:3])
        raise ModelError(
            f"{names[0]} has other tokens than {names[1]}: {len(differing):,} differ, such as {shown}. Log-"
            "probabilities of an answer can be compared only where its tokens are the same; give a ref_model with "
            "this tokenizer, or leave ref_model out"
        )


def _name(preprocessor: Preprocessor) -> str:
    return "text alone" if preprocessor.processor is None else type(preprocessor.processor).__name__


def _require_room(own: nn.Module, reference: nn.Module, settings: Settings, *, num_tokens: int) -> None:
    """Every token must have a row in the reference's embedding, as it has in the model's."""
    num_rows, num_own = (weight_of(input_embedding(core_model(model))).shape[0] for model in (reference, own))
    if num_rows < min(num_tokens, num_own):
        raise ModelError(
            f"ref_model: {settings.preference.ref_model} has {num_rows:,} tokens in its embedding, and the tokenizer "
            f"{num_tokens:,}; set resize_vocab: true, or give a ref_model that knows them all"
        )
