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
    """Longest example in tokens, media included; for stage pt longest piece of a document."""
    overlong: Literal["truncate", "drop", "error"] = "truncate"
    """A longer example: whole turns are cut (stage pt: it is split, and nothing lost), or it goes, or the run stops."""
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
    """For templates that know thinking: passed on to them. None: as the model was published, else theirs."""

    packing: bool | None = None
    """Fill sequences of cutoff_len with whole samples, none of which sees another; empty: on for stage pt, else off."""
    neat_packing: bool = False
    """The same as packing: true, which never lets samples see each other here."""
    batch_tokens: int | None = Field(None, gt=0)
    """Micro-batches of up to this many tokens instead of per_device_train_batch_size examples."""
    group_by_length: bool = False
    """Examples of similar length in a micro-batch."""
    streaming: bool = False
    """Read files from their beginning while training, without a first pass over them; needs max_steps."""
    buffer_size: int = Field(16384, gt=0)
    """With streaming: rows that are shuffled among each other."""
    mix_strategy: Literal["concat", "interleave_under", "interleave_over", "interleave_once"] = "concat"
    """Several datasets: all rows; or drawn in turn until one ends, until all ended (ended ones repeat) or did once."""
    interleave_probs: Names = ()
    """How often each dataset is drawn, in the order of `dataset`: 0.7,0.3."""
    encoding_cache: bool = True
    """Keep encoded rows on disk, found again by their content."""
    overwrite_cache: bool = False
    """Encode all rows anew, and keep those."""
    preprocessing_num_workers: int | None = Field(None, gt=0)
    """Processes of `tunesmith data check`; None takes the cores of this machine."""
