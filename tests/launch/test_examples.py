"""The files under examples/ for schedulers: what they are, and that the command they start is understood."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.house.tree import REPOSITORY
from tunesmith.cli.arguments import split_arguments
from tunesmith.config.known import load_known_keys
from tunesmith.config.overrides import parse_overrides
from tunesmith.config.read import load_settings_from
from tunesmith.launch.plan import Meeting, Start, plan_launch

EXAMPLES = REPOSITORY / "examples"


def _documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((EXAMPLES / name / "train.yaml").read_text(encoding="utf-8")))


def _words(text: str) -> list[str]:
    (command,) = re.findall(r"^(?:srun )?(tunesmith train .*)$", text.replace("\\\n", " "), re.MULTILINE)
    return shlex.split(command)


def _kubernetes_words() -> list[str]:
    (container,) = _documents("kubernetes")[1]["spec"]["template"]["spec"]["containers"]
    return list(container["command"])


COMMANDS = {
    "slurm": _words((EXAMPLES / "slurm" / "train.sbatch").read_text(encoding="utf-8")),
    "kubernetes": _kubernetes_words(),
    "skypilot": _words(_documents("skypilot")[0]["run"]),
}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_command_names_keys_that_exist(name: str) -> None:
    program, verb, *words = COMMANDS[name]
    assert (program, verb) == ("tunesmith", "train")
    arguments = split_arguments(words)
    keys = {given.key for given in parse_overrides(arguments.overrides)}
    assert "max_restarts" in keys
    assert keys <= load_known_keys().names()
    if arguments.target is not None and arguments.target.parts[0] == "examples":
        assert (REPOSITORY / arguments.target).is_file()


def test_the_pods_of_the_job_meet_at_the_first(tmp_path: Path) -> None:
    service, job = _documents("kubernetes")
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": job["metadata"]["name"]}
    assert job["spec"]["template"]["spec"]["subdomain"] == service["metadata"]["name"]
    given = parse_overrides(split_arguments(COMMANDS["kubernetes"][2:]).overrides)
    settings = load_settings_from({row.key: row.value for row in given})
    address = f"{job['metadata']['name']}-0.{service['metadata']['name']}"
    plan = plan_launch(settings, {"NODE_RANK": "1"}, count=lambda _: 8)
    port = service["spec"]["ports"][0]["port"]
    assert plan == Start(8, "one for each of 8 GPUs", Meeting("static", address, port, "tunesmith", 1, 2, 2), None, 3)


def test_slurm_starts_one_task_a_host_and_lets_them_save() -> None:
    text = (EXAMPLES / "slurm" / "train.sbatch").read_text(encoding="utf-8")
    options = dict(
        line.removeprefix("#SBATCH --").partition("=")[::2] for line in text.splitlines() if "#SBATCH" in line
    )
    assert options["ntasks-per-node"] == "1"
    assert options["signal"].startswith("TERM@")
    assert "requeue" in options
