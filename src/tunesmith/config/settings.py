"""All settings of one run, a section each. What travels through the program is this object or one of its sections."""

from __future__ import annotations

from pydantic import Field

from tunesmith.config.data import DataSettings
from tunesmith.config.generation import ExportSettings, GenerationSettings
from tunesmith.config.grpo import GrpoSettings
from tunesmith.config.model import MediaSettings, ModelSettings
from tunesmith.config.packing import wants_packs
from tunesmith.config.parallel import ParallelSettings
from tunesmith.config.preference import PreferenceSettings
from tunesmith.config.section import Section
from tunesmith.config.training import TrackingSettings, TrainingSettings
from tunesmith.config.tuning import TuningSettings


class Settings(Section):
    """The resolved settings. Every section has defaults, so `Settings()` is valid for tests.

    Every field of every section is acted on by code; keys that are only accepted, or not supported yet, stand in
    known_keys.yaml and never reach a section.
    """

    model: ModelSettings = Field(default_factory=ModelSettings)
    media: MediaSettings = Field(default_factory=MediaSettings)
    data: DataSettings = Field(default_factory=DataSettings)
    tuning: TuningSettings = Field(default_factory=TuningSettings)
    preference: PreferenceSettings = Field(default_factory=PreferenceSettings)
    grpo: GrpoSettings = Field(default_factory=GrpoSettings)
    training: TrainingSettings = Field(default_factory=TrainingSettings)
    parallel: ParallelSettings = Field(default_factory=ParallelSettings)
    tracking: TrackingSettings = Field(default_factory=TrackingSettings)
    generation: GenerationSettings = Field(default_factory=GenerationSettings)
    export: ExportSettings = Field(default_factory=ExportSettings)

    @property
    def packs(self) -> bool:
        """Whether sequences of cutoff_len are to be filled with samples; the one answer to what `packing` means."""
        return wants_packs(self.data, self.training.rows)
