"""Whether samples fill sequences of cutoff_len: what `packing` means where it is left out."""

from __future__ import annotations

from tunesmith.config.data import DataSettings
from tunesmith.config.stages import RowKind


def wants_packs(data: DataSettings, rows: RowKind) -> bool:
    """What `packing` and `neat_packing` say, else yes for documents, unless another key says what a micro-batch is."""
    if data.neat_packing or data.packing is not None:
        return data.neat_packing or bool(data.packing)
    return rows == "documents" and data.batch_tokens is None and not data.group_by_length
