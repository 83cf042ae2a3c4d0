"""`tunesmith train`: settings in, a run folder out. The loop is `tunesmith.train.run`'s."""

from __future__ import annotations

from collections.abc import Sequence

from tunesmith import log
from tunesmith.cli.arguments import split_arguments
from tunesmith.cli.imports import importing

HELP = """tunesmith train [run.yaml] [key=value | --key value]...

Trains as the settings say and writes everything about the run into output_dir. The file may be left out where the
command line says all; a run folder stands for the run.yaml in it.

  --dry-run   print the settings as they would be used, and stop

Needed: model_name_or_path, dataset, output_dir.
Common: finetuning_type lora|full|freeze, lora_rank, learning_rate, num_train_epochs, per_device_train_batch_size,
        gradient_accumulation_steps, cutoff_len, val_size, save_steps, resume_from_checkpoint.

  tunesmith train run.yaml learning_rate=2e-4
  tunesmith train run.yaml --resume_from_checkpoint true
"""


def run(argv: Sequence[str]) -> int:
    """Train, or print the resolved settings with --dry-run."""
    arguments = split_arguments(argv, switches=("dry-run", "dry_run", "help"))
    if "help" in arguments.switches or "-h" in argv:
        print(HELP, end="")
        return 0
    from tunesmith.config.read import load_settings

    log.set_up()
    settings = load_settings(arguments.target, arguments.overrides, verb="train")
    if {"dry-run", "dry_run"} & arguments.switches:
        from tunesmith.config.write import render_yaml

        print(render_yaml(settings), end="")
        return 0
    with importing():
        from tunesmith.train.run import train

    train(settings)
    return 0
