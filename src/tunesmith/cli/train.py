"""`tunesmith train`: settings in, a run folder out. The loop is `tunesmith.train.run`'s, the launcher `launch/`'s."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith import env, log
from tunesmith.cli.arguments import Arguments, split_arguments
from tunesmith.cli.imports import importing
from tunesmith.launch.again import look_into, settings_of_attempt
from tunesmith.launch.orphan import end_with
from tunesmith.launch.plan import Here, Start, describe, plan_launch, speaks
from tunesmith.launch.variables import allocate_in_segments

if TYPE_CHECKING:
    from tunesmith.config.settings import Settings

HELP = """tunesmith train [run.yaml] [key=value | --key value]...

Trains as the settings say and writes everything about the run into output_dir. The file may be left out where the
command line says all; a run folder stands for the run.yaml in it.

  --dry-run   print the settings as they would be used and the processes that would be started, and stop
  --detach    train on without this terminal, and say how to follow and stop it (tunesmith runs)

Needed: model_name_or_path, dataset, output_dir.
Common: finetuning_type lora|full|freeze, lora_rank, learning_rate, num_train_epochs, per_device_train_batch_size,
        gradient_accumulation_steps, cutoff_len, val_size, save_steps, resume_from_checkpoint.

All visible GPUs train, a process each. Otherwise say:
  --nproc N                 processes on this host (NPROC_PER_NODE)
  --nnodes N | LEAST:MOST   hosts; start the same command on each (NNODES)
  --node_rank I             this host's number, from 0 (NODE_RANK)
  --master_addr, --master_port   where hosts meet: host 0's name and a free port (MASTER_ADDR, MASTER_PORT)
  --rdzv_id, --rdzv_backend c10d, --rdzv_endpoint HOST:PORT   hosts that number themselves (RDZV_ID)
  --max_restarts N          start all processes again from the last checkpoint if one is killed (MAX_RESTARTS)
Under torchrun, srun and mpirun each process takes the place it is given.

  tunesmith train run.yaml learning_rate=2e-4
  tunesmith train run.yaml --resume_from_checkpoint true
  tunesmith train run.yaml --nnodes 2 --node_rank 0 --master_addr gpu-a --master_port 29500
"""
_SWITCHES = ("dry-run", "dry_run", "detach", "help")


def run(argv: Sequence[str]) -> int:
    """Train, start the processes that do, or print the resolved settings with --dry-run."""
    arguments = split_arguments(argv, switches=_SWITCHES)
    if "help" in arguments.switches or "-h" in argv:
        print(HELP, end="")
        return 0
    settings = _load(arguments)
    plan = plan_launch(settings, os.environ)
    if {"dry-run", "dry_run"} & arguments.switches:
        from tunesmith.config.write import render_yaml

        print(f"{render_yaml(settings)}# {describe(plan)}")
    elif "detach" in arguments.switches:
        from tunesmith.runs.detach import detach

        return detach(argv, settings, plan)
    elif isinstance(plan, Start):
        _start(plan, settings, argv)
    else:
        _train_here(plan, settings)
    return 0


def _load(arguments: Arguments) -> Settings:
    from tunesmith.config.read import load_settings

    if (launcher := env.launcher()) is not None:
        end_with(launcher)
    if speaks(os.environ):
        log.set_up()
    return load_settings(arguments.target, arguments.overrides, verb="train")


def _start(plan: Start, settings: Settings, words: Sequence[str]) -> None:
    from tunesmith.launch.supervise import launch
    from tunesmith.train.folder.run_folder import RunFolder
    from tunesmith.train.folder.status import answering_for

    command = (sys.executable, "-m", "tunesmith", "train", *words)
    output = Path(settings.training.output_dir or ".").expanduser()
    with answering_for(RunFolder(output).status):
        launch(plan, command, logs=output / "logs", attempt=env.attempt())


def _train_here(plan: Here, settings: Settings) -> None:
    os.environ.update({**plan.variables, **allocate_in_segments(os.environ)})
    log.set_up()
    with importing():
        from tunesmith.train.folder.run_folder import RunFolder
        from tunesmith.train.run import train

    if attempt := env.attempt():
        folder = RunFolder(Path(settings.training.output_dir or "."))
        found = look_into(folder.path, has_checkpoint=bool(folder.checkpoint_steps()))
        settings = settings_of_attempt(settings, attempt, found)
    train(settings)
