"""A checkpoint from what was taken of a run to a whole folder, or none at all.

checkpoints/step-N/            the adapter or model with its tokenizer, in PEFT's or Hugging Face's layout
checkpoints/step-N/trainer/    progress.json and what an exact continuation needs (`formats`); absent with
                               save_only_model

Random states are not kept: every micro-batch seeds anew from seed, step and number (`randomness`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import torch.distributed as dist

from tunesmith.errors import RunError, TunesmithError
from tunesmith.train.checkpoint.draft import Draft
from tunesmith.train.checkpoint.progress import TRAINER, write_progress
from tunesmith.train.folder.atomic import draft_of, explained, writing_folder

Value = TypeVar("Value")


def write_alone(folder: Path, draft: Draft) -> None:
    """Write `folder` whole or not at all, by this process.

    Raises RunError where the disk refuses; earlier checkpoints are not touched.
    """
    with writing_folder(folder) as place:
        if draft.part is not None:
            (place / TRAINER).mkdir()
            draft.part.write(place / TRAINER, None)
        _write_model_and_progress(draft, place)


def write_together(folder: Path, draft: Draft, group: dist.ProcessGroup) -> None:
    """The same by all processes of `group` together, each its part. Raises the RunError of any of them in all.

    Nobody writes before the folder is there, and it gets its name once everybody has ended.
    """
    is_first = dist.get_rank(group) == 0
    with ExitStack() as opened:
        place = _agree(group, folder, lambda: opened.enter_context(_opened(folder)) if is_first else draft_of(folder))
        _agree(group, folder, lambda: _write_part(draft, place, group))
        _agree(group, folder, lambda: _write_model_and_progress(draft, place) if is_first else None)
        rest = opened.pop_all()
    _agree(group, folder, rest.close)


@contextmanager
def _opened(folder: Path) -> Iterator[Path]:
    with writing_folder(folder) as place:
        (place / TRAINER).mkdir()
        yield place


def _write_part(draft: Draft, place: Path, group: dist.ProcessGroup) -> None:
    if draft.part is not None:
        draft.part.write(place / TRAINER, group)


def _write_model_and_progress(draft: Draft, place: Path) -> None:
    draft.write_model(place, draft.model)
    if draft.progress is not None:
        write_progress(draft.progress, place / TRAINER)


def _agree(group: dist.ProcessGroup, folder: Path, action: Callable[[], Value]) -> Value:
    """What `action`, which writes of `folder`, gives here, once it has succeeded everywhere. Raises what it failed with
    in the lowest rank: whatever that is, nobody may be left waiting.
    """
    result: list[Value] = []
    problem: TunesmithError | None = None
    try:
        with explained(folder):
            result.append(action())
    except TunesmithError as error:
        problem = error
    except Exception as error:  # noqa: BLE001  told in every process
        problem = RunError(f"{folder} cannot be written: {type(error).__name__}: {error}")
    problems: list[TunesmithError | None] = [None] * dist.get_world_size(group)
    dist.all_gather_object(problems, problem, group=group)
    if found := next((given for given in problems if given is not None), None):
        raise problem or found
    return result[0]
