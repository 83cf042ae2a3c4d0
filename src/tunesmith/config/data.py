"""Which rows, in what format, cut how."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tunesmith.config.section import Names, Optional, Section


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
    default_system: Annotated[str | None, Optional] = None
    """System message for conversations that have none."""
    enable_thinking: bool | None = None
    """For templates that know thinking: passed on to them; None leaves the template's default."""
