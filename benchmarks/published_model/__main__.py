"""`python -m benchmarks.published_model FOLDER`: both sides answer, their differences are printed.

The exit status is 1 if ids, slices or patches differ, or logits by more than rounding.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers.environments import python_of
from benchmarks.published_model.compare import HEADER, compare, table
from benchmarks.published_model.questions import FILE, write_questions

_TOLERANCE = {"float32": 1e-4, "float64": 1e-6, "bfloat16": 5e-2, "float16": 1e-2}
_NUM_LOGITS = 8
_REPOSITORY = Path(__file__).resolve().parents[2]


def main() -> int:
    """Ask both, compare, print."""
    options = _options()
    folder = options.folder.expanduser().resolve()
    python = options.python or python_of("published")
    tolerance = options.tolerance or _TOLERANCE[options.dtype]
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        write_questions(
            work,
            own_images=options.images,
            sees=(folder / "preprocessor_config.json").is_file(),
            packs_frames=bool(config.get("batch_3d_resampler")),
        )
        published = _answer([str(python), str(Path(__file__).with_name("published.py"))], folder, work, options)
        own = _answer([sys.executable, "-m", "benchmarks.published_model.own"], folder, work, options)
    differences = [compare(name, published[name], own[name]) for name in published]
    print(f"{folder}, {options.dtype}: the last {_NUM_LOGITS} positions of each question")
    print(table([HEADER, *(one.row(tolerance) for one in differences)]))
    return 0 if all(one.within(tolerance) for one in differences) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.published_model", description=__doc__)
    parser.add_argument("folder", type=Path, help="a published model folder; the Python code in it is run")
    parser.add_argument(
        "--images", type=Path, nargs="*", default=[], help="pictures to ask about beside the drawn ones"
    )
    parser.add_argument("--dtype", choices=_TOLERANCE, default="float32")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--tolerance", type=float, help=f"of logits, as a share of the largest above 1; {_TOLERANCE}")
    parser.add_argument("--python", type=Path, help="of an environment that runs the published code; else one is made")
    return parser.parse_args()


def _answer(program: list[str], folder: Path, work: Path, options: argparse.Namespace) -> dict[str, Any]:
    answers = work / f"{Path(program[-1]).name}.pt"
    given = [str(folder), str(work / FILE), str(answers), options.dtype, options.device, str(_NUM_LOGITS)]
    kept_apart = {"HF_MODULES_CACHE": str(work / "modules"), "HF_HUB_OFFLINE": "1"}
    subprocess.run([*program, *given], check=True, cwd=_REPOSITORY, env={**os.environ, **kept_apart})
    found: dict[str, Any] = torch.load(answers, weights_only=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
