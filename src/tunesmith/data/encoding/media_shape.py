"""What is known of a medium before it is decoded: enough to say what the model's processor will write for it.

Pure data. Knows nothing of files, pixels or processors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tunesmith.chat.message import MediaKind


@dataclass(frozen=True, slots=True)
class ImageShape:
    """An image as the processor gets it, in pixels."""

    kind: ClassVar[MediaKind] = "image"
    width: int
    height: int

    def __str__(self) -> str:
        return f"an image of {self.width}x{self.height} pixels"


@dataclass(frozen=True, slots=True)
class VideoShape:
    """The frames of a video that the processor gets.

    indices:           which frames of the file they are, in order
    num_file_frames:   frames of the whole file
    file_fps:          frames a second of the file
    num_sound_samples: samples of its sound at the model's rate; None if the sound is not taken
    """

    kind: ClassVar[MediaKind] = "video"
    width: int
    height: int
    indices: tuple[int, ...]
    num_file_frames: int
    file_fps: float
    num_sound_samples: int | None = None

    @property
    def num_frames(self) -> int:
        """Frames that are taken."""
        return len(self.indices)

    @property
    def taken_fps(self) -> float:
        """Taken frames a second, as transformers' VideoMetadata.sampled_fps counts them."""
        return self.num_frames / self.num_file_frames * self.file_fps

    def __str__(self) -> str:
        return f"a video of {self.num_frames} frames of {self.width}x{self.height} pixels"


@dataclass(frozen=True, slots=True)
class AudioShape:
    """A clip of sound, in samples at the model's rate."""

    kind: ClassVar[MediaKind] = "audio"
    num_samples: int

    def __str__(self) -> str:
        return f"audio of {self.num_samples} samples"


Shape = ImageShape | VideoShape | AudioShape
