"""fits.json: how large micro-batches may be on this run's machine, so that a resumed run need not find out again.

It holds under the circumstances it was learned in (model, precision, device, …) and is left aside in others. Which rows
a step takes never depends on it. Knows nothing of memory.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tunesmith import log
from tunesmith.train.folder.atomic import explained
from tunesmith.train.steps.fits import Fits


@dataclass(frozen=True, slots=True)
class FitsFile:
    """`file` of a run in these `circumstances`: plain text by name."""

    file: Path
    circumstances: Mapping[str, str]

    def read(self, kind: str) -> Fits:
        """What fits in steps (`training`) or evaluations (`evaluation`); nothing where the file says nothing of these
        circumstances."""
        return Fits.from_json(self._kept().get(kind, []))

    def write(self, *, training: Fits, evaluation: Fits) -> None:
        """Put what fits beside what stands there. Safe for several processes at a time: each writes the whole file.

        Raises RunError where the disk refuses.
        """
        content: dict[str, object] = {"circumstances": dict(self.circumstances)}
        for kind, fits in (("training", training), ("evaluation", evaluation)):
            known = self.read(kind)
            for size in fits.sizes:
                known.learn(size)
            content[kind] = known.to_json()
        draft = self.file.with_name(f".writing-{self.file.name}-{socket.gethostname()}-{os.getpid()}")
        with explained(self.file):
            draft.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            draft.replace(self.file)

    def _kept(self) -> dict[str, list[dict[str, int]]]:
        if not self.file.exists():
            return {}
        try:
            content = json.loads(self.file.read_text(encoding="utf-8"))
            kept, sizes = content.pop("circumstances"), content
        except (json.JSONDecodeError, KeyError):
            log.warning(f"{self.file} is damaged and left aside: what fits into memory is found out again")
            return {}
        differing = sorted(name for name, value in self.circumstances.items() if kept.get(name) != value)
        if differing:
            log.note_once(f"{self.file.name} was written with another {', '.join(differing)} and is left aside")
            return {}
        return dict(sizes)
