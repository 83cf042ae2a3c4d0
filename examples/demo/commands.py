"""The demo's public commands: each is printed as a user would type it, then run in a process of its own."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
USUAL_OUTPUT = Path("demo")
"""What the YAML files name; another output folder is given on the command line."""

_PATHS = {
    "english.yaml": {"model_name_or_path": "base", "dataset_dir": "data", "output_dir": "english"},
    "chinese.yaml": {"model_name_or_path": "english", "dataset_dir": "data", "output_dir": "chinese"},
    "merge.yaml": {"model_name_or_path": "english", "adapter_name_or_path": "chinese", "export_dir": "merged"},
}


def tunesmith(verb: str, recipe: str, *, output: Path) -> None:
    """Run `tunesmith VERB` with a YAML file of this folder; a command that fails ends the demo with its status."""
    words = ["tunesmith", verb, f"examples/demo/{recipe}"]
    if output != USUAL_OUTPUT:
        words += [f"{key}={output / name}" for key, name in _PATHS[recipe].items()]
    print(f"\n$ {shlex.join(words)}", flush=True)
    words[2] = str(HERE / recipe)
    status = subprocess.run([sys.executable, "-m", *words], check=False).returncode
    if status:
        sys.exit(status)
