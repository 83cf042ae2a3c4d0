"""GPUs of a host, as far as they are known without torch."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunesmith.launch.devices import count_gpus, most_gpus


def _host(root: Path, *, devices: int = 0, driver: int = 0, other: str = "") -> Path:
    (root / "dev").mkdir()
    for name in [*(f"nvidia{number}" for number in range(devices)), "nvidiactl", "null", *other.split()]:
        (root / "dev" / name).touch()
    for number in range(driver):
        (root / "proc/driver/nvidia/gpus" / f"0000:{number}").mkdir(parents=True)
    return root


@pytest.mark.parametrize(
    ("devices", "driver", "visible", "most"),
    [
        (0, 0, None, 0),
        (0, 0, "0,1", 0),
        (8, 8, None, 8),
        (0, 4, None, 4),
        (8, 0, "0,3", 2),
        (8, 0, "", 0),
        (8, 0, "1,-1,2", 1),
        (2, 0, "0,1,2,3", 2),
        (1, 0, "MIG-a,MIG-b", 2),
    ],
)
def test_no_process_sees_more_than_this(
    tmp_path: Path, devices: int, driver: int, visible: str | None, most: int
) -> None:
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert most_gpus(environ, root=_host(tmp_path, devices=devices, driver=driver)) == most


def test_other_drivers_devices_are_not_counted_but_known_of(tmp_path: Path) -> None:
    root = _host(tmp_path, other="kfd")
    assert most_gpus({}, root=root) is None
    assert most_gpus({"HIP_VISIBLE_DEVICES": "0,1"}, root=root) == 2


def test_torch_is_asked_only_where_there_may_be_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert count_gpus({"CUDA_VISIBLE_DEVICES": "0"}, root=_host(tmp_path, devices=8)) == 1
    monkeypatch.setattr("tunesmith.launch.devices._ASK", "print('a warning'); print(3)")
    assert count_gpus({}, root=tmp_path) == 3
    monkeypatch.setattr("tunesmith.launch.devices._ASK", "raise SystemExit('no driver')")
    assert count_gpus({}, root=tmp_path) == 0
