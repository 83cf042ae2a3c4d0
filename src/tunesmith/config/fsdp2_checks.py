"""What cannot be had with weights that FSDP2 cuts over the processes.

Pure functions from values to messages, as in `checks`.
"""

from __future__ import annotations

from collections.abc import Iterator

from tunesmith.config.resolve import Values
from tunesmith.config.stages import REFERENCE_FREE


def check_fsdp2(values: Values) -> Iterator[str]:
    """What does not go with `parallel: fsdp2`."""
    if values["parallel"] != "fsdp2":
        return
    if values["stage"] == "grpo":
        yield f"{values.where('parallel')}: stage grpo does not train with fsdp2 yet; use parallel: ddp"
    if str(values["optim"]).startswith("paged_") or "8bit" in str(values["optim"]) or values["optim"] == "adafactor":
        yield (
            f"{values.where('optim')}: optim: {values['optim']} works on whole weights, and fsdp2 cuts them; use "
            "adamw_torch, whose state is cut too, or parallel: ddp"
        )
    if _needs_a_copy(values):
        yield (
            f"{values.where('precompute_ref')}: the stage compares the model with itself as the training began, and "
            "fsdp2 keeps no copy of weights that are cut; set precompute_ref: true, which computes the reference's "
            "values before the first step"
        )


def _needs_a_copy(values: Values) -> bool:
    """Whether the reference would be a frozen copy of what trains, which is then kept beside it."""
    compares = values["stage"] == "kto" or (values["stage"] == "dpo" and values["pref_loss"] not in REFERENCE_FREE)
    keeps = values["precompute_ref"] is False or values["streaming"]
    return compares and keeps and values["ref_model"] is None and values["finetuning_type"] != "lora"
