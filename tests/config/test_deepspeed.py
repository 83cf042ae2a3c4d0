"""`deepspeed`: names, JSONs of the peers, and what is wrong with one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunesmith.config.checks import notes
from tunesmith.config.deepspeed import plan_zero
from tunesmith.config.given import given_from_mapping
from tunesmith.config.read import load_settings, load_settings_from
from tunesmith.config.resolve import resolve
from tunesmith.errors import UsageError

PEERS: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("deepspeed_of_peers.json").read_text())
REFUSED = "LLaMA-Factory/ds_z2_autotp_config.json"  # asks for tensor parallelism


def _complaints(**settings: Any) -> list[str]:
    with pytest.raises(UsageError) as raised:
        load_settings_from(settings)
    return str(raised.value).splitlines()


@pytest.mark.parametrize(
    ("name", "stage", "offload_optimizer", "offload_param"),
    [
        ("zero1", 1, False, False),
        ("zero2", 2, False, False),
        ("zero3", 3, False, False),
        ("zero2_offload", 2, True, False),
        ("zero3_offload", 3, True, True),
        ("deepspeed_zero2", 2, False, False),
        ("deepspeed_zero3_offload", 3, True, True),
        ("ds_z3_config.json", 3, False, False),
        ("cache/ds_z2_offload_config.json", 2, True, False),
        ("ds_config_zero2.json", 2, False, False),
    ],
)
def test_names_of_ours_and_of_the_peers(name: str, stage: int, offload_optimizer: bool, offload_param: bool) -> None:
    plan = plan_zero(load_settings_from({"deepspeed": name}).parallel.deepspeed)
    assert (plan.stage, plan.offload_optimizer, plan.offload_param) == (stage, offload_optimizer, offload_param)


def test_parallel_deepspeed_alone_is_zero2() -> None:
    settings = load_settings_from({"parallel": "deepspeed"})
    assert plan_zero(settings.parallel.deepspeed).stage == 2


@pytest.mark.parametrize("name", [name for name in PEERS if name != REFUSED])
def test_every_json_of_a_peer_works_as_it_is(name: str, tmp_path: Path) -> None:
    file = tmp_path / "ds.json"
    file.write_text(json.dumps(PEERS[name]), encoding="utf-8")
    settings = load_settings_from({"deepspeed": str(file), "bf16": True}).parallel
    stage = PEERS[name]["zero_optimization"]["stage"]
    if not stage:
        assert (settings.parallel, settings.deepspeed) == ("ddp", None)
        return
    plan = plan_zero(settings.deepspeed)
    offloads = PEERS[name]["zero_optimization"].get("offload_optimizer", {}).get("device") == "cpu"
    assert (plan.stage, plan.offload_optimizer) == (stage, offloads)
    assert plan.sections["zero_optimization"]["overlap_comm"] == PEERS[name]["zero_optimization"]["overlap_comm"]
    assert "tensorboard" not in plan.sections


def test_tensor_parallelism_is_refused_by_name() -> None:
    assert _complaints(deepspeed=PEERS[REFUSED]) == [
        "settings: deepspeed: the mapping: tensor_parallel is not supported with deepspeed; remove the section; zero3 "
        "cuts weights over the processes as well"
    ]


def test_a_file_is_found_beside_the_settings_and_kept_in_them(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text('{"zero_optimization": {"stage": 3, "sub_group_size": 5}}')
    (tmp_path / "run.yaml").write_text("deepspeed: mine.json\n")
    kept = load_settings(tmp_path / "run.yaml").parallel.deepspeed
    assert kept == {"zero_optimization": {"stage": 3, "sub_group_size": 5}}


def test_a_file_wins_over_its_name(tmp_path: Path) -> None:
    (tmp_path / "ds_z3_config.json").write_text('{"zero_optimization": {"stage": 2}}')
    settings = load_settings_from({"deepspeed": str(tmp_path / "ds_z3_config.json")})
    assert plan_zero(settings.parallel.deepspeed).stage == 2


def test_a_number_that_the_settings_have_otherwise_names_both_places(tmp_path: Path) -> None:
    (tmp_path / "ds.json").write_text('{"zero_optimization": {"stage": 2}, "gradient_accumulation_steps": 4}')
    (tmp_path / "run.yaml").write_text("deepspeed: ds.json\ngradient_accumulation_steps: 8\n")
    with pytest.raises(UsageError) as raised:
        load_settings(tmp_path / "run.yaml")
    assert str(raised.value) == (
        f"{tmp_path}/run.yaml, line 1: deepspeed: ds.json says gradient_accumulation_steps: 4, and "
        f"{tmp_path}/run.yaml, line 2 says gradient_accumulation_steps: 8; "
        'write "auto" into ds.json, or the same number'
    )


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        ({"bf16": {"enabled": True}}, {}, "says bf16.enabled: true, and the settings say (by default) bf16: false"),
        ({"fp16": {"enabled": False}}, {"fp16": True}, "says fp16.enabled: false, and settings says fp16: true"),
        (
            {"gradient_clipping": 0.5},
            {},
            "says gradient_clipping: 0.5, and the settings say (by default) max_grad",
        ),
        ({"optimizer": {"type": "AdamW", "params": {"lr": 1e-3}}}, {}, "says optimizer.params.lr: 0.001, and"),
        ({"optimizer": {"type": "OneBitAdam"}}, {}, "optimizer.type is OneBitAdam; remove the section and choose by"),
        ({"scheduler": {"params": {"warmup_num_steps": 9}}}, {}, "scheduler.params.warmup_num_steps is 9; write auto"),
        (
            {"zero_optimisation": {"stage": 2}},
            {},
            "unknown key zero_optimisation.stage; did you mean zero_optimiz",
        ),
        ({"zero_optimization": {"stage": 4}}, {}, "zero_optimization.stage is 4; expected 0, 1, 2 or 3"),
        (
            {"zero_optimization": {"stage": 3, "offload_param": {"device": "nvme"}}},
            {},
            "zero_optimization.offload_param.device is nvme, which is not supported; use cpu or none",
        ),
        ({"moe": {"enabled": True}}, {}, "moe is not supported with deepspeed; remove the section; experts are cut"),
    ],
)
def test_what_is_wrong_with_a_json_is_one_line(content: Any, settings: dict[str, Any], message: str) -> None:
    (complaint,) = _complaints(deepspeed={"zero_optimization": {"stage": 2}, **content}, **settings)
    assert message in complaint


def test_the_same_numbers_and_auto_pass() -> None:
    content = {
        "zero_optimization": {"stage": 2},
        "gradient_clipping": 1,
        "bf16": {"enabled": True},
        "optimizer": {"type": "AdamW", "params": {"lr": 2e-5, "betas": [0.9, 0.999], "eps": "auto"}},
    }
    load_settings_from({"deepspeed": content, "learning_rate": 2e-5, "pure_bf16": True})


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "nowhere.json does not exist (seen from" in _complaints(deepspeed="nowhere.json")[0]
    assert "zeros is neither a file nor one of zero1, zero2" in _complaints(deepspeed="zeros")[0]
    assert "deepspeed is 3; expected zero2 or the like" in _complaints(deepspeed=3)[0]
    broken = tmp_path / "broken.json"
    broken.write_text('{\n "zero_optimization": {,\n}')
    assert _complaints(deepspeed=str(broken)) == [
        f"settings: deepspeed: {broken}, line 2: this is not valid JSON: Expecting property name enclosed in double "
        "quotes"
    ]
    broken.write_text("[1]")
    assert "expected an object like" in _complaints(deepspeed=str(broken))[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"deepspeed": "zero2", "parallel": "fsdp2"}, "deepspeed and parallel: fsdp2 name two engines; leave one of"),
        ({"deepspeed": "zero2", "parallel": "ddp"}, "deepspeed and parallel: ddp name two engines; leave one of"),
        ({"deepspeed": "zero3", "quantization_bit": 4}, "ZeRO-3 cannot cut quantised weights; use deepspeed: zero2"),
        ({"parallel": "deepspeed", "torch_compile": True}, "torch_compile does not go with deepspeed"),
        (
            {"deepspeed": "zero1", "optim": "adamw_8bit"},
            "optim: adamw_8bit does not go with deepspeed; use adamw",
        ),
        ({"deepspeed": "zero1", "optim": "adafactor"}, "adafactor looks at whole matrices, and deepspeed cuts them"),
    ],
)
def test_what_does_not_go_with_deepspeed(settings: dict[str, Any], message: str) -> None:
    (complaint,) = _complaints(**settings)
    assert message in complaint


def test_what_has_no_effect_is_noted() -> None:
    given = given_from_mapping({"deepspeed": PEERS["MiniCPM-V/ds_config_zero3.json"]}, place="settings")
    assert list(notes(resolve(given, []))) == [
        "deepspeed: scheduler: WarmupLR is not used; lr_scheduler_type and warmup_ratio decide"
    ]


def test_zero1_in_sixteen_bits_is_zero2_and_says_so() -> None:
    given = given_from_mapping({"deepspeed": "zero1", "bf16": True}, place="settings")
    assert list(notes(resolve(given, []))) == [
        "deepspeed: ZeRO-1 in 16 bits runs as ZeRO-2, which adds gradients up in float32"
    ]


@pytest.mark.parametrize("name", ["zero2", "zero3", "zero3_offload"])
def test_the_examples_are_what_their_names_say(name: str) -> None:
    settings = load_settings_from({"deepspeed": f"examples/deepspeed/{name}.json", "bf16": True})
    plan, named = plan_zero(settings.parallel.deepspeed), plan_zero(name)
    assert (plan.stage, plan.offload_optimizer) == (named.stage, named.offload_optimizer)
