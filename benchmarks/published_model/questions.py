"""What both sides are asked: texts, drawn pictures and a clip, and pictures of the user's own.

Questions are written into a folder, as JSON and PNG files, since the two sides run in different environments.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

FILE = "questions.json"
_SIZES = {"small": (200, 150), "wide": (1500, 700), "tall": (500, 1600)}
_FRAMES_PER_S, _FRAME_STEP, _NUM_FRAMES = 10, 5, 8
_FRAMES_A_GROUP = 2


@dataclass(frozen=True, slots=True)
class Clip:
    """Frames of a video, taken every `step` of a file of `num_file_frames`, `fps` a second.

    times: temporal ids, tenths of a second, of the frames that share a run of tokens, for each run
    """

    step: int
    num_file_frames: int
    fps: int
    times: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Question:
    """A user's turn: media, then text. Frames of a clip are its `images`."""

    name: str
    text: str
    images: tuple[str, ...] = ()
    clip: Clip | None = None


def write_questions(folder: Path, *, own_images: Sequence[Path], sees: bool, packs_frames: bool) -> None:
    """Questions into `folder`. sees: whether the model takes pictures; packs_frames: videos with temporal ids."""
    questions = [Question("text", "Name three colours."), Question("中文", "用一句话介绍你自己。")]
    if sees:
        files = {name: _draw(folder / f"{name}.png", size) for name, size in _SIZES.items()}
        questions += [Question(f"{name} picture", "What is in the picture?", (file,)) for name, file in files.items()]
        questions.append(Question("three pictures", "What differs between them?", tuple(files.values())))
        questions += [Question(path.name, "What is in the picture?", (str(path.resolve()),)) for path in own_images]
    if packs_frames:
        questions.append(_clip(folder))
    (folder / FILE).write_text(json.dumps([asdict(one) for one in questions], ensure_ascii=False), encoding="utf-8")


def _clip(folder: Path) -> Question:
    frames = tuple(_draw(folder / f"frame{number}.png", (320, 240), shift=number) for number in range(_NUM_FRAMES))
    ids = [number * _FRAME_STEP * 10 // _FRAMES_PER_S for number in range(_NUM_FRAMES)]
    groups = tuple(tuple(ids[start : start + _FRAMES_A_GROUP]) for start in range(0, _NUM_FRAMES, _FRAMES_A_GROUP))
    clip = Clip(_FRAME_STEP, _NUM_FRAMES * _FRAME_STEP, _FRAMES_PER_S, groups)
    return Question("packed frames", "What happens?", frames, clip)


def _draw(file: Path, size: tuple[int, int], *, shift: int = 0) -> str:
    """Waves, edges and fine grain: whatever a resize does wrong shows."""
    rows, columns = np.mgrid[: size[1], : size[0]]
    columns = columns + 11 * shift
    channels = [(columns * (3 + one) + rows * 7 + (columns // 17) * (rows // 13) * 29) % 256 for one in range(3)]
    Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8)).save(file)
    return str(file)
