"""The training loop; and, called as `tunesmith.train(config, **overrides)`, the public way to start it.

    result = tunesmith.train("run.yaml", learning_rate=2e-4)
    result.run_folder, result.metrics

A package and a public function share the name, and the import system lets a package win; so the package is callable.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunesmith.train.run import TrainResult


class _CallablePackage(ModuleType):
    def __call__(self, config: str | Path | Mapping[str, Any], **overrides: Any) -> TrainResult:
        """Train as `config` says and return the run folder and the final metrics.

        config:    path of a YAML or JSON file, or a mapping of the same flat keys
        overrides: settings that win over those of `config`

        Raises UsageError for wrong settings, DataError for unusable rows, ModelError for an unusable model, RunError
        where the run cannot start or be written.
        """
        from tunesmith import env
        from tunesmith.config.read import load_settings_from

        env.let_threads_sleep()

        settings = load_settings_from(Path(config) if isinstance(config, str) else config, overrides, verb="train")
        from tunesmith.train.run import train  # torch comes with it: after the settings are known to be right

        return train(settings)


sys.modules[__name__].__class__ = _CallablePackage
