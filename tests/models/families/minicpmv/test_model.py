"""The whole model: the published code's logits, texts with and without pictures, generation, training."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.models.families.minicpmv.examples import CLIP, STILLS, WIDE, Example, Picture, build_example, build_model
from tests.models.given import settings_for
from tests.tiny import tiny_folder
from tunesmith.models.families.minicpmv.model import MiniCPMVForConditionalGeneration
from tunesmith.models.load import load_config, load_model, read_pretrained
from tunesmith.models.parts import find_parts
from tunesmith.models.quantization import is_packed
from tunesmith.models.saving import save_model

GOLDEN: Mapping[str, Mapping[str, list[list[float]]]] = json.loads(
    (Path(__file__).parent / "golden" / "logits.json").read_text(encoding="utf-8")
)
"""By kind and example: the published code's logits after the last two tokens."""

EXAMPLES = {"stills": STILLS, "wide": WIDE, "clip": CLIP}
KINDS = tuple(GOLDEN)
TEXT = torch.tensor([[11, 12, 13, 14, 15]])


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in GOLDEN for name in GOLDEN[kind]])
def test_logits_are_those_of_the_published_code(kind: str, name: str) -> None:
    with torch.no_grad():
        logits = build_model(kind)(**build_example(EXAMPLES[name]).inputs()).logits[0, -2:]

    torch.testing.assert_close(logits, torch.tensor(GOLDEN[kind][name]), rtol=0, atol=1e-4)


def left_padded(examples: Sequence[Example]) -> dict[str, Tensor]:
    """Rows of one batch, shorter ones padded on their left; media of all rows end to end."""
    longest = max(len(example.input_ids) for example in examples)
    padding = [longest - len(example.input_ids) for example in examples]
    rows = [functional.pad(example.input_ids, (pad, 0)) for example, pad in zip(examples, padding, strict=True)]
    media = [{name: value for name, value in example.inputs().items() if name != "input_ids"} for example in examples]
    return {
        "input_ids": torch.stack(rows),
        "attention_mask": torch.stack([(torch.arange(longest) >= pad).long() for pad in padding]),
        **{name: torch.cat([given[name] for given in media]) for name in media[0]},
    }


def test_rows_of_a_batch_answer_as_they_do_alone() -> None:
    model = build_model("minicpmv_4_5", dtype=torch.float64)
    examples = [build_example(STILLS), build_example(WIDE, seed=1), build_example(CLIP, seed=2)]

    alone = [model.generate(**example.inputs(), max_new_tokens=6, do_sample=False)[0, -6:] for example in examples]
    together = model.generate(**left_padded(examples), max_new_tokens=6, do_sample=False)[:, -6:]

    assert together.tolist() == [answer.tolist() for answer in alone]


def test_generated_tokens_are_the_likeliest_of_the_whole_text_again() -> None:
    model = build_model("minicpmv_2_6", dtype=torch.float64)
    inputs = build_example(STILLS).inputs()

    generated = model.generate(**inputs, max_new_tokens=5, do_sample=False)
    again = model.generate(**inputs, max_new_tokens=5, do_sample=False, use_cache=False)
    likeliest = model(**{**inputs, "input_ids": generated}).logits[0, -6:-1].argmax(-1)

    assert generated.tolist() == again.tolist()
    assert generated[0, -5:].tolist() == likeliest.tolist()


def test_beams_and_several_answers_see_the_same_picture() -> None:
    model = build_model("minicpmv_4_5", dtype=torch.float64)
    inputs = left_padded([build_example(STILLS), build_example(CLIP, seed=2)])

    greedy = model.generate(**inputs, max_new_tokens=4, do_sample=False)[:, -4:]
    torch.manual_seed(0)
    thrice = model.generate(**inputs, max_new_tokens=4, do_sample=True, top_k=1, num_return_sequences=3)[:, -4:]
    beams = model.generate(**inputs, max_new_tokens=4, do_sample=False, num_beams=2, num_return_sequences=2)

    assert thrice.tolist() == greedy.repeat_interleave(3, dim=0).tolist()
    assert beams.shape[0] == 4


@pytest.mark.parametrize("kind", KINDS)
def test_text_without_pictures_is_the_language_models_alone(kind: str) -> None:
    model = build_model(kind)

    assert torch.equal(model(TEXT).logits, model.llm(TEXT).logits)
    assert model.generate(TEXT, max_new_tokens=2, do_sample=False).tolist() == (
        model.llm.generate(TEXT, max_new_tokens=2, do_sample=False).tolist()
    )


def test_a_batch_of_text_trains_and_leaves_the_tower_alone() -> None:
    model = build_model("minicpmv_4_5").train()

    model(TEXT, labels=TEXT).loss.backward()

    assert model.llm.lm_head.weight.grad is not None
    assert {name.partition(".")[0] for name, weight in model.named_parameters() if weight.grad is not None} == {"llm"}


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable:FutureWarning")  # renamed in newer versions
def test_a_batch_with_pictures_trains_every_weight_also_where_activations_are_recomputed() -> None:
    model = build_model("minicpmv_4_5", dtype=torch.float64).train()
    inputs = build_example(CLIP).inputs()

    def gradients() -> dict[str, Tensor | None]:
        model.zero_grad()
        model(**inputs, labels=inputs["input_ids"]).loss.backward()
        return {name: weight.grad for name, weight in model.named_parameters()}

    plain = gradients()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})

    assert [name for name, gradient in plain.items() if gradient is None] == []
    torch.testing.assert_close(gradients(), plain, rtol=0, atol=1e-12)


def test_slices_seen_a_few_at_a_time_are_seen_the_same() -> None:
    model = build_model("minicpmv_4_5", dtype=torch.float64)
    inputs = build_example(CLIP).inputs()
    at_once = model(**inputs).logits

    model.config.vision_batch_size = 2
    with torch.no_grad():
        in_portions = model(**inputs).logits

    torch.testing.assert_close(in_portions, at_once, rtol=0, atol=1e-12)


def test_only_the_logits_that_are_asked_for_are_computed() -> None:
    model, inputs = build_model("minicpmv_2_6", dtype=torch.float64), build_example(STILLS).inputs()

    torch.testing.assert_close(model(**inputs, logits_to_keep=1).logits, model(**inputs).logits[:, -1:])


def test_embedded_text_is_taken_in_place_of_ids() -> None:
    model, inputs = build_model("minicpmv_2_6"), build_example(STILLS).inputs()

    assert torch.equal(model(inputs_embeds=model.embed(**inputs)).logits, model(**inputs).logits)
    with pytest.raises(ValueError, match="needs input_ids or inputs_embeds"):
        model()


def test_a_factor_on_the_embedding_is_on_text_alone() -> None:
    model, inputs = build_model("minicpmv_4_0"), build_example(STILLS).inputs()
    plain = model.embed(**inputs)

    model.config.scale_emb = 3.0
    scaled = model.embed(**inputs)

    assert torch.equal(scaled[0, 0], plain[0, 0] * 3)
    assert torch.equal(scaled[0, 4], plain[0, 4])  # the first picture's first token


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_ids": TEXT}, "has 0 runs of placeholders for images, and 4 were given"),
        ({"tgt_sizes": None}, "given without tgt_sizes"),
        ({"tgt_sizes": torch.tensor([[8, 8], [6, 10], [6, 10]])}, "do not belong together"),
        ({"group_sizes": torch.tensor([1, 1, 2])}, "cannot read several frames as one"),
    ],
)
def test_media_that_do_not_fit_are_refused(change: dict[str, Tensor | None], message: str) -> None:
    model = build_model("minicpmv_2_6")

    with pytest.raises(ValueError, match=message):
        model(**{**build_example(STILLS).inputs(), **change})


def test_without_marks_pictures_are_refused_with_the_cure() -> None:
    model = build_model("minicpmv_2_6")
    model.config.media_token_ids = None

    with pytest.raises(ValueError, match=r"set media_token_ids in config\.json"):
        model(**build_example(WIDE).inputs())


def test_parts_and_published_targets_are_found() -> None:
    model = build_model("minicpmv_4_5")

    parts = find_parts(model)
    targets = re.compile(r"llm\..*layers\.\d+\.self_attn\.(q_proj|k_proj|v_proj)")

    assert (parts.language_model, parts.layers, parts.head) == ("llm.model", "llm.model.layers", "llm.lm_head")
    assert (parts.vision_tower, parts.projector) == (("vpm",), ("resampler",))
    assert sum(targets.fullmatch(name) is not None for name, _ in model.named_modules()) == 2 * 3


def test_a_tied_head_stays_tied_from_disk_to_disk(tmp_path: Path) -> None:
    model = build_model("minicpmv_4_0")
    save_model(model, tmp_path)

    loaded = read_pretrained(tmp_path, load_config(tmp_path), dtype=None, device="cpu")

    assert isinstance(loaded, MiniCPMVForConditionalGeneration)
    assert loaded.llm.lm_head.weight is loaded.llm.model.embed_tokens.weight
    assert torch.equal(loaded(TEXT).logits, model(TEXT).logits)


def test_a_model_saved_in_another_format_says_so_to_every_version_of_transformers(tmp_path: Path) -> None:
    save_model(build_model("minicpmv_2_6"), tmp_path, dtype=torch.bfloat16)

    written = json.loads((tmp_path / "config.json").read_text())

    assert (written["torch_dtype"], written["dtype"]) == ("bfloat16", "bfloat16")


def test_weights_from_scratch_are_neither_empty_nor_constant() -> None:
    torch.manual_seed(0)
    model = MiniCPMVForConditionalGeneration(build_model("minicpmv_4_5").config)

    for name in ("query", "proj", "attn.in_proj_weight", "attn.out_proj.weight", "kv_proj.weight"):
        assert 0.005 < model.resampler.get_parameter(name).std() < 0.2, name
    assert 0.01 < model.vpm.embeddings.position_embedding.weight.std() < 0.5


def test_linear_layers_of_all_parts_load_in_four_bits_and_the_rest_computes_with_them(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    folder = tiny_folder("minicpmv_4_5", tmp_path)
    model = load_model(settings_for(folder, quantization_bit=4), trains=False)
    marks = model.config.media_token_ids
    picture = [marks["image_start"], *[marks["unk"]] * 4, marks["image_end"]]

    logits = model(
        torch.tensor([[*picture, 9]]), pixel_values=torch.ones(6, 3, 14, 14), tgt_sizes=torch.tensor([[2, 3]])
    ).logits

    packed = {name for name, weight in model.named_parameters() if is_packed(weight)}
    assert {"llm.model.layers.0.self_attn.q_proj.weight", "resampler.attn.out_proj.weight"} < packed
    assert "resampler.attn.in_proj_weight" not in packed
    assert torch.isfinite(logits).all()


def test_a_picture_changes_the_answer_and_its_neighbour_does_not() -> None:
    model = build_model("minicpmv_2_6", dtype=torch.float64)
    both = build_example([Picture([(4, 4)]), Picture([(4, 4)])])
    inputs = both.inputs()
    changed = inputs["pixel_values"].clone()
    changed[16:] = 0

    before, after = model.embed(**inputs), model.embed(**{**inputs, "pixel_values": changed})

    moved = (before != after).any(-1)[0].nonzero().flatten().tolist()
    assert moved == [12, 13, 14, 15]  # the second picture's four tokens
