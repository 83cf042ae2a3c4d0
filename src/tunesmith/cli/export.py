"""`tunesmith export`: one folder with everything merged into it. The merge itself is `tunesmith.export.run`'s."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tunesmith import log
from tunesmith.cli.arguments import split_arguments
from tunesmith.cli.imports import importing

HELP = """tunesmith export [run.yaml | FOLDER] export_dir=DIR [key=value | --key value]...

FOLDER may be a run, any of its checkpoints, an adapter, a model, or what an engine wrote in parts: FSDP's distributed
checkpoint, a DeepSpeed ZeRO folder (with model_name_or_path=BASE), an XTuner iter_N.pth. `tunesmith convert` takes the
same.

Merges the adapters of a YAML file, a run folder, a checkpoint or an adapter into the base model, weight by weight on
the CPU, and writes the result with every other file of the base beside it. Then both are loaded, asked the same, and
compared. A model trained in full is copied.

  export_dir=DIR                where to write; nothing is there until it is complete
  export_size=5                 largest weight file in GB
  export_device=cpu|auto        auto: compare on the GPU if there is one
  export_legacy_format=false    true: pytorch_model.bin instead of safetensors
  infer_dtype=auto              float16, bfloat16 or float32 instead of the base's own
  overwrite_output_dir=false    true: replace a model that stands in export_dir

  tunesmith export runs/first export_dir=merged
  tunesmith export --model_name_or_path base --adapter_name_or_path saves/lora --export_dir merged
"""


def run(argv: Sequence[str]) -> int:
    """Export, and say where to and how it was verified."""
    arguments = split_arguments(argv, switches=("help",))
    if "help" in arguments.switches or "-h" in argv:
        print(HELP, end="")
        return 0
    log.set_up()
    if arguments.target is not None and _is_state(arguments.target):
        with importing():
            from tunesmith.convert.state import convert_state

        print(convert_state(arguments.target, arguments.overrides))
        return 0
    from tunesmith.config.read import check_settings

    check_settings(arguments.target, arguments.overrides, verb="export")
    with importing():
        from tunesmith.export.run import export
        from tunesmith.infer.source import find_source

    report = export(find_source(arguments.target, arguments.overrides))
    print(report.describe())
    return 0


def _is_state(target: Path) -> bool:
    """Whether it is a training's state rather than settings, a run, or a model."""
    from tunesmith.models.files.engine_parts import find_parts

    return target.suffix == ".pth" or (target.is_dir() and find_parts(target) is not None)
