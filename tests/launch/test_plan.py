"""Settings and environment → train here, or start processes."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.launch.test_scheduler import SRUN
from tunesmith import log
from tunesmith.config.read import load_settings_from
from tunesmith.config.settings import Settings
from tunesmith.errors import NotSupportedYetError, UsageError
from tunesmith.launch.plan import Here, Meeting, Start, describe, plan_launch

HOSTS = {"nnodes": "2", "node_rank": 1, "master_addr": "gpu-a", "master_port": 29501}


def _settings(**changes: Any) -> Settings:
    return load_settings_from({"model_name_or_path": "a", "dataset": "b", "output_dir": "c", **changes})


def _plan(environ: dict[str, str] | None = None, *, gpus: int = 0, **changes: Any) -> Here | Start:
    return plan_launch(_settings(**changes), environ or {}, count=lambda _: gpus)


@pytest.mark.parametrize(
    ("gpus", "changes", "processes"),
    [
        (0, {}, None),
        (1, {}, None),
        (4, {}, 4),
        (4, {"use_cpu": True}, None),
        (0, {"nproc": 2}, 2),
        (4, {"nproc": "auto"}, 4),
    ],
)
def test_every_visible_gpu_has_a_process(gpus: int, changes: dict[str, Any], processes: int | None) -> None:
    plan = _plan(gpus=gpus, **changes)
    assert (plan.processes if isinstance(plan, Start) else None) == processes


def test_one_process_is_started_where_somebody_must_watch_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _plan(max_restarts=2) == Start(1, "no GPU", None, None, 2)
    assert isinstance(_plan(parallel="fsdp2"), Start)
    assert isinstance(_plan(), Here)
    monkeypatch.setenv("FORCE_TORCHRUN", "1")
    assert isinstance(_plan(), Start)


def test_llama_factorys_names() -> None:
    environ = {
        "NNODES": "2",
        "NODE_RANK": "0",
        "NPROC_PER_NODE": "8",
        "MASTER_ADDR": "10.0.0.1",
        "MASTER_PORT": "29500",
    }
    meeting = Meeting("static", "10.0.0.1", 29500, "tunesmith", 0, 2, 2)
    assert _plan(environ) == Start(8, "nproc: 8", meeting, None, 0)
    elastic = {**environ, "RDZV_ID": "j7", "MIN_NNODES": "1", "MAX_NNODES": "4", "MAX_RESTARTS": "3"}
    meeting = Meeting("c10d", "10.0.0.1", 29500, "j7", 0, 1, 4)
    assert _plan(elastic) == Start(8, "nproc: 8", meeting, None, 3)


def test_xtuners_names_count_where_there_are_several_hosts() -> None:
    environ = {"NPROC_PER_NODE": "2", "ADDR": "gpu-a", "PORT": "8080"}
    assert _plan(environ) == Start(2, "nproc: 2", None, None, 0)
    meeting = Meeting("static", "gpu-a", 8080, "tunesmith", 1, 2, 2)
    assert _plan({**environ, "NNODES": "2", "NODE_RANK": "1"}) == Start(2, "nproc: 2", meeting, None, 0)


def test_settings_win_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    log.forget_said()
    caplog.set_level(logging.INFO, logger="tunesmith")
    logging.getLogger("tunesmith").propagate = True
    plan = _plan({"NPROC_PER_NODE": "8", "NODE_RANK": "1"}, nproc=2, **HOSTS)
    assert plan == Start(2, "nproc: 2", Meeting("static", "gpu-a", 29501, "tunesmith", 1, 2, 2), None, 0)
    assert caplog.messages == ["note: nproc: 2 of the settings counts, not NPROC_PER_NODE=8 of the environment"]


@pytest.mark.parametrize(
    ("environ", "changes", "message"),
    [
        ({}, {"nnodes": "two"}, "nnodes is two; expected a number of hosts like 2, or the least and most"),
        ({}, {"nnodes": "4:2"}, "nnodes is 4:2; expected"),
        ({"NPROC_PER_NODE": "many"}, {}, "NPROC_PER_NODE is many; expected a number of processes above 0, or auto"),
        ({}, {"nnodes": 2}, "nnodes: 2: hosts must know where they meet; set master_addr"),
        ({}, {"nnodes": 2, "master_addr": "a"}, "nnodes: 2: each host must know its number; set node_rank"),
        ({}, {**HOSTS, "node_rank": 2}, "node_rank is 2 with nnodes 2; hosts are numbered from 0 to 1"),
        ({}, {**HOSTS, "nnodes": "1:2", "rdzv_backend": "static"}, "a number of hosts that may change needs"),
        ({"MASTER_PORT": "tcp://10.1.2.3:29500"}, {"nnodes": 2}, "MASTER_PORT is tcp"),
        ({}, {**HOSTS, "rdzv_endpoint": "a:b:c"}, "rdzv_endpoint is a:b:c; expected host:port"),
        ({}, {**HOSTS, "rdzv_backend": "etcd"}, "rdzv_backend is etcd; expected static"),
        ({"WORLD_SIZE": "4"}, {}, "WORLD_SIZE=4 is set and RANK is not"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_started(
    environ: dict[str, str], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as raised:
        _plan(environ, **changes)
    assert message in str(raised.value)


def test_a_process_that_has_its_rank_starts_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "3"}.items():
        monkeypatch.setenv(name, value)
    ranked = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "3", "NPROC_PER_NODE": "4"}
    assert _plan(ranked, gpus=4, nproc=4) == Here("process 3 of 4", 4)


def test_a_kubernetes_operators_rank_is_a_hosts() -> None:
    pod = {"RANK": "1", "WORLD_SIZE": "2", "PET_NNODES": "2", "PET_NODE_RANK": "1", "PET_NPROC_PER_NODE": "8"}
    plan = _plan({**pod, "MASTER_ADDR": "job-master-0", "MASTER_PORT": "23456"})
    assert plan == Start(8, "nproc: 8", Meeting("static", "job-master-0", 23456, "tunesmith", 1, 2, 2), None, 0)


def test_tasks_of_slurm_train_and_one_a_host_starts_its_hosts_processes() -> None:
    plan = _plan(SRUN, gpus=2)
    assert isinstance(plan, Here)
    assert (plan.num_processes, plan.variables["RANK"], plan.variables["MASTER_ADDR"]) == (7, "5", "gpu-07")
    per_host = {**SRUN, "SLURM_NTASKS": "4", "SLURM_PROCID": "2", "SLURM_TASKS_PER_NODE": "1(x4)"}
    meeting = Meeting("static", "gpu-07", 24711, "tunesmith", 2, 4, 4)
    assert _plan(per_host, gpus=8) == Start(8, "one for each of 8 GPUs", meeting, None, 0)
    one_each = _plan(per_host, gpus=1)
    assert isinstance(one_each, Here)
    assert one_each.variables["WORLD_SIZE"] == "4"


def test_grpo_trains_in_one_process() -> None:
    grpo = {"stage": "grpo", "reward_funcs": "exact_match"}
    assert _plan(gpus=4, **grpo) == Here("stage grpo trains in one process")
    with pytest.raises(NotSupportedYetError, match="stage grpo trains in one process; leave nproc and nnodes out"):
        _plan(nproc=2, **grpo)


def test_a_plan_in_words() -> None:
    assert describe(_plan()) == "trains in this process (no GPU)"
    assert describe(_plan(gpus=2, max_restarts=1)) == (
        "starts 2 processes (one for each of 2 GPUs), again up to 1 times if one is killed"
    )
    assert describe(_plan(nproc=1, **HOSTS)) == (
        "starts 1 process (nproc: 1) on each of 2 hosts, which meet at gpu-a:29501 as host 1 (static)"
    )
