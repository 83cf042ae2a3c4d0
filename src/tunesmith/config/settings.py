"""All settings of one run, a section each. What travels through the program is this object or one of its sections."""

from __future__ import annotations

from pydantic import Field

from tunesmith.config.data import DataSettings
from tunesmith.config.generation import ExportSettings, GenerationSettings
from tunesmith.config.model import MediaSettings, ModelSettings
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
    training: TrainingSettings = Field(default_factory=TrainingSettings)
    tracking: TrackingSettings = Field(default_factory=TrackingSettings)
    generation: GenerationSettings = Field(default_factory=GenerationSettings)
    export: ExportSettings = Field(default_factory=ExportSettings)
