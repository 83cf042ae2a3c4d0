"""Which changes a resumed run refuses, and which it only tells of."""

from __future__ import annotations

import logging

import pytest

from tunesmith.chat.message import Media, RowSource
from tunesmith.config.read import load_settings_from
from tunesmith.data.encoding.encoded import Encoded
from tunesmith.errors import RunError
from tunesmith.train.folder.fingerprint import fingerprint_data, fingerprint_files
from tunesmith.train.folder.identity import require_same_identity, run_identity, warn_of_changed_settings

np = pytest.importorskip("numpy")


def identity(data="d", model="m", **settings):
    return run_identity(load_settings_from(settings), data=data, model=model)


def test_everything_that_differs_is_named_with_both_values():
    now = identity(data="other", seed=43, per_device_train_batch_size=2, packing=True)
    with pytest.raises(RunError) as error:
        require_same_identity(identity(), now)
    message = str(error.value)
    assert "seed (42 in the checkpoint, 43 now)" in message
    assert "per_device_train_batch_size (1 in the checkpoint, 2 now)" in message
    assert "packing (False in the checkpoint, True now)" in message
    assert "the training data (d in the checkpoint, other now)" in message
    require_same_identity(identity(), identity(learning_rate=1.0, logging_steps=3))


def test_other_changes_are_told_but_not_those_that_change_nothing(caplog):
    logging.getLogger("tunesmith").propagate = True
    with caplog.at_level(logging.WARNING, logger="tunesmith"):
        warn_of_changed_settings(
            {"learning_rate": 1e-4, "logging_steps": 1}, {"learning_rate": 2e-4, "logging_steps": 5}
        )
    assert "learning_rate: 0.0001 → 0.0002" in caplog.text
    assert "logging_steps" not in caplog.text


def example(ids, labels, *media):
    ids, labels = np.array(ids, dtype=np.int32), np.array(labels, dtype=np.int32)
    return Encoded(ids, labels, None, tuple(Media("image", name) for name in media), 0, False, RowSource("f", 0))


def test_the_datas_fingerprint_sees_files_ids_labels_images_and_order():
    one, other = example([1, 2], [1, 2]), example([1, 2], [-100, 2])
    prints = [
        fingerprint_data(["file"], examples)
        for examples in ([one], [other], [one, other], [other, one], [example([1, 2], [1, 2], "a.png")])
    ]
    prints.append(fingerprint_data(["another file"], [one]))
    assert len(set(prints)) == len(prints)
    assert fingerprint_data(["file"], [example([1, 2], [1, 2])]) == prints[0]


def test_the_models_fingerprint_sees_names_sizes_and_both_ends(tmp_path):
    file = tmp_path / "model.safetensors"
    seen = set()
    for content in (b"a" * 10, b"a" * 11, b"a" * 200_000 + b"b", b"b" + b"a" * 200_000):
        file.write_bytes(content)
        seen.add(fingerprint_files([file]))
    assert len(seen) == 4


def test_a_stage_adds_what_it_compares_with_and_sft_stays_as_it_was_before_there_were_others():
    assert "stage" not in identity()
    own, other = (
        run_identity(load_settings_from({"stage": "dpo"}), data="d", model="m", reference=name) for name in ("a", "b")
    )
    with pytest.raises(RunError, match=r"ref_model's files \(a in the checkpoint, b now\)"):
        require_same_identity(own, other)
    with pytest.raises(RunError, match=r"share_prefix \(True in the checkpoint, False now\)"):
        require_same_identity(identity(stage="dpo"), identity(stage="dpo", share_prefix=False))
    with pytest.raises(RunError, match=r"stage \(dpo in the checkpoint, orpo now\)"):
        require_same_identity(identity(stage="dpo"), identity(stage="orpo"))
