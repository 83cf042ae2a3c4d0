"""What Slurm and MPI say to a process that they started."""

from __future__ import annotations

import pytest

from tunesmith.errors import UsageError
from tunesmith.launch.scheduler import expand_hosts, find_task, hosts_left_out

SRUN = {
    "SLURM_PROCID": "5",
    "SLURM_NTASKS": "7",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "2",
    "SLURM_NNODES": "4",
    "SLURM_TASKS_PER_NODE": "2(x3),1",
    "SLURM_JOB_NODELIST": "gpu-[07-09],big",
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "0",
}


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("gpu-a", ["gpu-a"]),
        ("node[01-03,7],gpu-a", ["node01", "node02", "node03", "node7", "gpu-a"]),
        ("a[9-11]b[1,2]", ["a9b1", "a9b2", "a10b1", "a10b2", "a11b1", "a11b2"]),
        (
            "rack1-n[098-101].cluster,x",
            ["rack1-n098.cluster", "rack1-n099.cluster", "rack1-n100.cluster", "rack1-n101.cluster", "x"],
        ),
        ("", []),
    ],
)
def test_a_list_of_hosts(text: str, hosts: list[str]) -> None:
    assert expand_hosts(text) == hosts


@pytest.mark.parametrize("text", ["node[1-", "node[a-b]"])
def test_a_list_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="Slurm's list of hosts"):
        expand_hosts(text)


def test_a_task_of_srun_is_a_process_of_the_run() -> None:
    task = find_task(SRUN)
    assert task is not None
    assert (task.address, task.port, task.alone_on_its_host) == ("gpu-07", 24711, False)
    assert task.variables(address="gpu-07", port=24711) == {
        "RANK": "5",
        "WORLD_SIZE": "7",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "gpu-07",
        "MASTER_PORT": "24711",
    }
    last = find_task({**SRUN, "SLURM_PROCID": "6", "SLURM_LOCALID": "0", "SLURM_NODEID": "3"})
    assert last is not None
    assert last.local_size == 1


def test_one_task_a_host_starts_the_others() -> None:
    task = find_task({**SRUN, "SLURM_NTASKS": "4", "SLURM_TASKS_PER_NODE": "1(x4)", "SLURM_PROCID": "2"})
    assert task is not None
    assert task.alone_on_its_host
    assert (task.host_rank, task.num_hosts) == (2, 4)


def test_few_variables_are_enough() -> None:
    few = {name: SRUN[name] for name in ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_JOB_NODELIST")}
    task = find_task({**few, "SLURM_NTASKS": "8"})
    assert task is not None
    assert (task.rank, task.size, task.local_size, task.address) == (5, 8, 2, "gpu-07")


def test_a_batch_script_is_no_task_and_its_other_hosts_are_counted() -> None:
    script = {name: value for name, value in SRUN.items() if name != "SLURM_STEP_ID"} | {"ENVIRONMENT": "BATCH"}
    assert find_task(script) is None
    assert hosts_left_out(script) == 3
    assert find_task(script | {"SLURM_STEP_ID": "0"}) is not None
    assert hosts_left_out(SRUN) == 0


def test_a_step_of_one_task_is_none_of_several() -> None:
    assert find_task({**SRUN, "SLURM_STEP_NUM_TASKS": "1"}) is None
    assert find_task({}) is None


def test_processes_of_mpirun() -> None:
    names = ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")
    task = find_task({f"OMPI_COMM_WORLD_{name}": value for name, value in zip(names, "1212", strict=True)})
    assert task is not None
    assert (task.rank, task.size, task.local_rank, task.local_size, task.address) == (1, 2, 1, 2, "127.0.0.1")
    apart = find_task({f"OMPI_COMM_WORLD_{name}": value for name, value in zip(names, "1201", strict=True)})
    assert apart is not None
    assert apart.address is None


def test_a_number_that_is_none() -> None:
    with pytest.raises(UsageError, match="SLURM_PROCID='first' is not a whole number"):
        find_task({**SRUN, "SLURM_PROCID": "first"})
