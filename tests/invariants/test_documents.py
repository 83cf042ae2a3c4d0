"""Documents of stage pt: packed and cut into pieces, they are learned as each piece is by itself, in float64."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, cached_property

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from tests.data.conversations import document, picture
from tests.data.recordings import sound, video
from tests.invariants.packed_rows import WITH_VIDEO, Given, assert_same, loss_and_gradients
from tests.tiny import tiny_folder
from tunesmith.chat.message import Media
from tunesmith.config.data import DataSettings
from tunesmith.data.encoding.encode import Encoder, build_template
from tunesmith.data.encoding.encoded import Encoded
from tunesmith.data.feed.grouping import GroupByTokens, Grouper, GroupExamples, GroupPacks
from tunesmith.models.packing.split_attention import split_attention

CUTOFF = 48
TEXT_KINDS = ["qwen2", "llama", "gemma3_text", "gpt2"]
MEDIA_KINDS = ["qwen2_5_vl", "qwen3_vl", "llava", "internvl", "minicpmv_2_6", "qwen2_audio"]
IN_FLOAT32 = {"gemma3_text", "llava", "qwen2_audio"}
"""Norms or tower parts of these are computed in float32 whatever the weights' format."""
GROUPERS = [GroupPacks(CUTOFF, 1), GroupPacks(CUTOFF, 3), GroupByTokens(100, by_length=True), GroupExamples(2)]
SENTENCES = (
    "The king had a daughter. ",
    "你好, she said — and went away.\n\n",
    "Nobody knew where she went, and nobody asked; so the years went by, one after the other. ",
)
GivenOf = Callable[[str], "Documents"]


class Documents(Given):
    """Four documents, from one sentence to several pieces, media among them where the model takes any."""

    @cached_property
    def samples(self) -> list[Encoded]:
        return [sample for encoded in self.encoded for sample in encoded.samples()]

    @cached_property
    def encoded(self) -> list[Encoded]:
        data = DataSettings(cutoff_len=CUTOFF)
        encoder = Encoder(self.preprocessor, build_template(self.preprocessor, data, "documents"), data, "documents")
        return [encoder.encode(document(*parts, row=row)) for row, parts in enumerate(self._parts)]

    @property
    def _parts(self) -> list[Sequence[str | Media]]:
        texts = ["".join(SENTENCES[:1]), "".join(SENTENCES) * 2, "".join(SENTENCES[::-1]), SENTENCES[1]]
        media = self._seen_and_heard()
        return [[texts[0]], [*media[:1], texts[1], *media[1:], texts[0]], [texts[2], *media], [texts[3]]]

    def _seen_and_heard(self) -> list[Media]:
        kinds = self.preprocessor.kinds
        seen = [picture(60, 60), picture(60, 90, seed=1)] if "image" in kinds else []
        moving = [video(self.folder / "v.mp4", num_frames=12)] if self.kind in WITH_VIDEO else []
        return [*seen, *moving, *([sound(self.folder / "s.wav", seconds=0.5)] if "audio" in kinds else [])]

    @property
    def examples(self) -> list[Encoded]:  # type: ignore[override]
        return self.samples


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> GivenOf:
    return cache(lambda kind: Documents(kind, tiny_folder(kind, tmp_path_factory.mktemp(kind))))


def precision_of(kind: str) -> float:
    return 1e-5 if kind in IN_FLOAT32 else 1e-11


def apart(rows: Documents, model: nn.Module) -> tuple[float, dict[str, Tensor]]:
    return loss_and_gradients(model, [rows.batch(model, [index], packed=False) for index in range(len(rows.samples))])


def in_groups(rows: Documents, model: nn.Module, grouper: Grouper, *, packed: bool) -> tuple[float, dict[str, Tensor]]:
    groups = grouper.group([len(sample) for sample in rows.samples], random=None)
    return loss_and_gradients(model, [rows.batch(model, group, packed=packed) for group in groups])


@pytest.mark.parametrize("kind", [*TEXT_KINDS, *MEDIA_KINDS])
def test_packed_documents_are_each_piece_apart(kind: str, given: GivenOf) -> None:
    rows = given(kind)
    assert max(len(encoded.pieces) for encoded in rows.encoded) > 2
    model = rows.model()
    expected = apart(rows, model)
    padded = in_groups(rows, model, GROUPERS[-1], packed=False)
    assert split_attention(model)
    packed = [in_groups(rows, model, grouper, packed=True) for grouper in GROUPERS]
    for found in (padded, *packed):
        assert_same(expected, found, rel=precision_of(kind))


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_the_loss_is_the_models_own_of_every_piece(kind: str, given: GivenOf) -> None:
    rows = given(kind)
    model = rows.model()
    expected = 0.0
    for sample in rows.samples:
        ids = torch.from_numpy(sample.input_ids).long()[None]
        logits = model(input_ids=ids).logits[0, :-1]
        expected += torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum").item()
    assert split_attention(model)
    loss, _ = in_groups(rows, model, GROUPERS[0], packed=True)
    assert loss == pytest.approx(expected, rel=1e-10 if kind not in IN_FLOAT32 else 1e-5)


@pytest.mark.parametrize("grouper", GROUPERS, ids=str)
def test_every_token_but_each_piece_s_first_is_predicted_once(grouper: Grouper, given: GivenOf) -> None:
    rows = given("qwen2")
    model = rows.model()
    predicted: Counter[int] = Counter()
    for group in grouper.group([len(sample) for sample in rows.samples], random=None):
        batch = rows.batch(model, group, packed=True)
        flat = batch.inputs["input_ids"].flatten()
        assert torch.equal(flat[batch.positions + 1], batch.targets)
        predicted.update(batch.targets.tolist())
    whole = Counter(int(number) for encoded in rows.encoded for number in encoded.input_ids)
    first = Counter(int(sample.input_ids[0]) for sample in rows.samples)
    assert predicted == whole - first and predicted.total() == whole.total() - first.total()


@pytest.mark.parametrize("kind", ["llama", "qwen2_5_vl"])
def test_under_lora_and_freezing(kind: str, given: GivenOf) -> None:
    rows = given(kind)
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
    adapted = get_peft_model(rows.model(), config).double().train()
    frozen = rows.model().requires_grad_(False)
    frozen.get_output_embeddings().requires_grad_(True)
    for model in (adapted, frozen):
        expected = apart(rows, model)
        assert split_attention(model)
        assert_same(expected, in_groups(rows, model, GROUPERS[1], packed=True), rel=1e-11)
