"""Which rows, in what format, cut how."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from tunesmith.config.section import Names, Optional, Section


def _split_floats(value: object) -> object:
    if value is None:
        return ()
    return tuple(float(part) for part in value.split(",")) if isinstance(value, str) else value


class DataSettings(Section):
    """Datasets, template and truncation."""

    dataset: Names = ()
    """Names in dataset_info.json, or paths of files or folders; several comma-separated."""
    eval_dataset: Names = ()
    """Datasets held out for validation."""
    dataset_dir: str = "data"
    """The folder that holds dataset_info.json."""
    media_dir: Annotated[str | None, Optional] = None
    """What media paths are relative to (dataset_dir if empty)."""
    template: Annotated[str | None, Optional] = None
    """A bundled chat template's name; None takes the model's own."""
    cutoff_len: int = Field(2048, gt=0)
    """Longest example in tokens, media included."""
    overlong: Literal["truncate", "drop", "error"] = "truncate"
    """What happens to a longer example: whole turns are cut, or it is dropped, or the run stops."""
    on_bad_row: Literal["stop", "skip"] = "stop"
    """A row that cannot be used: stop before training with all of them listed, or skip and count them."""
    train_on_prompt: bool = False
    """Put the prompt in the loss too."""
    mask_history: bool = False
    """Only the last answer is in the loss."""
    max_samples: int | None = Field(None, gt=0)
    """At most this many rows of each dataset."""
    val_size: float = Field(0.0, ge=0)
    """Rows held out for validation: a share below 1, a number from 1 on."""
    eval_on_each_dataset: bool = False
    """Not supported yet."""
    mix_strategy: Literal["concat", "interleave_under", "interleave_over", "interleave_once"] = "concat"
    """Only concat is supported yet."""
    interleave_probs: Annotated[tuple[float, ...], BeforeValidator(_split_floats)] = ()
    """Not supported yet."""
    streaming: bool = False
    """Not supported yet."""
    buffer_size: int = 16384
    packing: bool = False
    """Not supported yet."""
    neat_packing: bool = False
    """Not supported yet."""
    default_system: Annotated[str | None, Optional] = None
    """System message for conversations that have none."""
    enable_thinking: bool | None = None
    """For templates that know thinking: passed on to them; None leaves the template's default."""
    preserve_thinking: bool = False
    """Not supported yet: whether old thoughts stay is the template's decision."""
    tool_format: Annotated[str | None, Optional] = None
    """Accepted for old files; tools are rendered as the model's template does."""
    tokenized_path: Annotated[str | None, Optional] = None
    """Not supported."""
    ignore_pad_token_for_loss: bool = True
    """Accepted for old files; padding is never in the loss."""
