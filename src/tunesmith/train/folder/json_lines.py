"""Files of one JSON object a line, appended to while a run goes on: metrics.jsonl and samples.jsonl."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunesmith.train.folder.atomic import explained, write_text


def append_line(file: Path, content: Mapping[str, Any]) -> None:
    """Append one line; numbers that JSON does not have (NaN, infinity) become null."""
    plain = {key: _finite(value) for key, value in content.items()}
    with explained(file), file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(plain, ensure_ascii=False, allow_nan=False) + "\n")


def read_lines(file: Path) -> list[dict[str, Any]]:
    """The lines of `file`, none if it is absent; a last line that a killed process left unfinished is left out."""
    if not file.exists():
        return []
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


def cut_after_step(file: Path, step: int) -> None:
    """Keep only lines whose `step` is at most `step`: a run resumed there writes the others again."""
    if file.exists():
        kept = [line for line in read_lines(file) if line["step"] <= step]
        write_text(file, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept))


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
