"""Any causal language model and a CLIP or SigLIP tower joined: same text, right number of tokens, transformers' own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from transformers import AutoProcessor, AutoTokenizer, LlavaForConditionalGeneration, LlavaProcessor

import tunesmith
from tests.compose.towers import TOWERS, tower_folder, write_clip
from tests.invariants.packed_rows import Given, assert_same, loss_and_gradients
from tests.tiny import KINDS, TEXT_KINDS, tiny_folder
from tunesmith.compose.language_model import load_language_model
from tunesmith.compose.llava import join
from tunesmith.compose.request import Request
from tunesmith.compose.run import compose_llava
from tunesmith.compose.vision_tower import load_vision_tower
from tunesmith.errors import ModelError, RunError, UsageError
from tunesmith.models.packing.split_attention import split_attention

FolderOf = Callable[[str], Path]
JOINABLE = [kind for kind in TEXT_KINDS if kind != "phi"]  # its head has a bias


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> FolderOf:
    """A tiny language model or tower by its kind."""
    return cache(
        lambda kind: (tower_folder if kind in TOWERS else tiny_folder)(kind, tmp_path_factory.mktemp(kind) / kind)
    )


@pytest.fixture(scope="module")
def joined(half: FolderOf, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of a language model and a tower joined."""

    @cache
    def join(language: str, tower: str = "clip") -> Path:
        output = tmp_path_factory.mktemp("joined") / f"{language}-{tower}"
        compose_llava(Request(str(half(language)), str(half(tower)), output))
        return output

    return join


def question(processor: Any, *parts: str) -> str:
    """One question as the processor's template writes it; "image" is a picture."""
    content = [{"type": "image"} if part == "image" else {"type": "text", "text": part} for part in parts]
    return processor.apply_chat_template([{"role": "user", "content": content}], tokenize=False)


@torch.no_grad()
def text_logits(folder: Path) -> torch.Tensor:
    model, _ = tunesmith.load(folder, device="cpu")
    logits: torch.Tensor = model(input_ids=torch.arange(5, 45)[None]).logits[0]
    return logits


@pytest.mark.parametrize("language", JOINABLE)
def test_of_text_alone_it_says_what_the_language_model_says(
    language: str, half: FolderOf, joined: Callable[..., Path]
) -> None:
    expected = text_logits(half(language))

    found = text_logits(joined(language))[:, : expected.shape[1]]

    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("language", JOINABLE)
def test_plain_transformers_reads_it_and_answers_about_a_picture(language: str, joined: Callable[..., Path]) -> None:
    folder = joined(language)
    model, report = LlavaForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    processor = AutoProcessor.from_pretrained(folder)
    assert type(processor) is LlavaProcessor
    assert not report["missing_keys"] and not report["unexpected_keys"]

    picture = Image.new("RGB", (90, 60), (200, 30, 30))
    inputs = processor(text=[question(processor, "image", "Hi")], images=[[picture]], return_tensors="pt")
    answer = model.generate(**inputs, max_new_tokens=2, do_sample=False)

    assert (inputs["input_ids"] == model.config.image_token_index).sum() == 16
    assert answer.shape[1] > inputs["input_ids"].shape[1]


@pytest.mark.parametrize(
    ("tower", "strategy", "additional"),
    [("clip", "default", 1), ("whole_clip", "default", 1), ("siglip", "full", 0), ("whole_siglip", "full", 0)],
)
def test_every_tower_gives_one_token_a_patch(
    tower: str, strategy: str, additional: int, joined: Callable[..., Path]
) -> None:
    folder = joined("qwen2", tower)
    config = json.loads((folder / "config.json").read_text())
    processor = AutoProcessor.from_pretrained(folder)

    assert config["vision_feature_select_strategy"] == processor.vision_feature_select_strategy == strategy
    assert config["vision_feature_layer"] == -2
    assert processor.num_additional_image_tokens == additional
    assert processor._get_num_multimodal_tokens([(40, 70), (300, 20)]).num_image_tokens == [16, 16]


def test_the_tower_s_weights_are_those_it_had(half: FolderOf, joined: Callable[..., Path]) -> None:
    for tower in ("clip", "whole_clip", "siglip", "whole_siglip"):
        with (
            safe_open(half(tower) / "model.safetensors", "pt") as own,
            safe_open(joined("qwen2", tower) / "model.safetensors", "pt") as written,
        ):
            prefix = "vision_model." if tower.startswith("whole") else ""
            names = [key for key in written.keys() if key.startswith("vision_tower.")]  # noqa: SIM118
            for name in names:
                inner = name.removeprefix("vision_tower.vision_model.")
                assert torch.equal(written.get_tensor(name), own.get_tensor(prefix + inner)), name
            assert len(names) > 40 and not any(".head." in name for name in names)


def test_files_and_names_are_those_of_published_llava_models(joined: Callable[..., Path]) -> None:
    folder = joined("llama")
    assert {path.name for path in folder.iterdir()} == {
        *("config.json", "generation_config.json", "model.safetensors", "chat_template.jinja"),
        *("processor_config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"),
    }
    with safe_open(folder / "model.safetensors", "pt") as stored:
        names = set(stored.keys())
    assert {name.split(".")[0] for name in names} == {"language_model", "vision_tower", "multi_modal_projector"}
    assert {
        "language_model.lm_head.weight",
        "language_model.model.layers.0.self_attn.q_proj.weight",
        "vision_tower.vision_model.encoder.layers.0.mlp.fc1.bias",
        "multi_modal_projector.linear_2.bias",
    } < names
    assert "_name_or_path" not in (folder / "config.json").read_text()


def test_tied_embeddings_stay_tied_and_are_stored_once(joined: Callable[..., Path]) -> None:
    model, _ = tunesmith.load(joined("qwen2"), device="cpu")
    assert model.lm_head.weight is model.get_input_embeddings().weight
    with safe_open(joined("qwen2") / "model.safetensors", "pt") as stored:
        assert "language_model.lm_head.weight" not in set(stored.keys())


def test_the_vocabulary_grows_only_where_it_is_full(
    half: FolderOf, tmp_path: Path, joined: Callable[..., Path]
) -> None:
    roomy = json.loads((half("qwen2") / "config.json").read_text())["vocab_size"]
    assert json.loads((joined("qwen2") / "config.json").read_text())["text_config"]["vocab_size"] == roomy

    full = tiny_folder("llama", tmp_path / "full")
    tokenizer = AutoTokenizer.from_pretrained(full)
    tokenizer.add_tokens([f"<filler_{number}>" for number in range(roomy - len(tokenizer))])
    tokenizer.save_pretrained(full)
    assert len(tokenizer) == roomy
    compose_llava(Request(str(full), str(half("clip")), tmp_path / "out"))

    model, processor = tunesmith.load(tmp_path / "out", device="cpu")
    rows = model.get_input_embeddings().weight
    assert rows.shape[0] == 576 and processor.image_token_id == roomy
    torch.testing.assert_close(rows[roomy], rows[:roomy].mean(dim=0))
    assert not any(torch.equal(rows[index], rows[roomy]) for index in range(roomy))


def test_the_projector_is_random_by_the_seed(half: FolderOf, tmp_path: Path) -> None:
    weights = []
    for number, seed in enumerate((1, 1, 2)):
        output = tmp_path / str(number)
        compose_llava(Request(str(half("qwen2")), str(half("clip")), output, seed=seed))
        with safe_open(output / "model.safetensors", "pt") as stored:
            weights.append(stored.get_tensor("multi_modal_projector.linear_1.weight"))
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert weights[0].std().item() == pytest.approx(0.02, rel=0.1)


def test_all_weights_get_the_language_model_s_format(half: FolderOf, tmp_path: Path) -> None:
    model, processor = tunesmith.load(half("minicpm"), dtype="bfloat16", device="cpu")
    model.save_pretrained(tmp_path / "half")
    processor.save_pretrained(tmp_path / "half")

    compose_llava(Request(str(tmp_path / "half"), str(half("siglip")), tmp_path / "out"))

    assert json.loads((tmp_path / "out/config.json").read_text())["dtype"] == "bfloat16"
    with safe_open(tmp_path / "out/model.safetensors", "pt") as stored:
        assert {stored.get_tensor(key).dtype for key in stored.keys()} == {torch.bfloat16}  # noqa: SIM118


@pytest.mark.parametrize(("language", "expected"), [("internlm2", "Llama"), ("minicpm", "Granite"), ("qwen2", "Qwen2")])
def test_the_language_model_s_config_is_that_of_a_class_of_transformers(
    language: str, expected: str, joined: Callable[..., Path]
) -> None:
    config = json.loads((joined(language) / "config.json").read_text())["text_config"]
    assert config["architectures"] == [f"{expected}ForCausalLM"]
    assert config["model_type"] == expected.lower()
    assert not {"auto_map", "quantization_config"} & set(config)


@pytest.mark.parametrize("language", ["internlm2", "minicpm", "gemma3_text"])
def test_readers_of_transformers_4_find_the_rope_settings(language: str, joined: Callable[..., Path]) -> None:
    folder = joined(language)
    written = json.loads((folder / "config.json").read_text(encoding="utf-8"))["text_config"]
    rope = written["rope_parameters"]
    if "rope_theta" not in rope:  # Gemma 3 has one for each kind of layer
        assert "rope_scaling" not in written
        return
    assert written["rope_theta"] == rope["rope_theta"]
    scaling = {name: value for name, value in rope.items() if name != "rope_theta"}
    assert written["rope_scaling"] == (None if rope["rope_type"] == "default" else scaling)
    read = LlavaForConditionalGeneration.from_pretrained(folder).config.text_config.rope_parameters
    assert {name: read[name] for name in rope} == rope


def test_a_scale_of_the_logits_moves_into_the_last_norm(half: FolderOf, joined: Callable[..., Path]) -> None:
    language, _ = tunesmith.load(half("minicpm"), device="cpu")
    seeing, _ = tunesmith.load(joined("minicpm"), device="cpu")
    scale = language.config.dim_model_base / language.config.hidden_size

    assert scale == 0.5
    assert torch.equal(seeing.model.language_model.norm.weight, language.model.norm.weight * scale)
    assert seeing.config.text_config.logits_scaling == 1.0
    assert seeing.lm_head.weight is seeing.get_input_embeddings().weight


def test_how_answers_are_generated_goes_along(half: FolderOf, tmp_path: Path) -> None:
    language = tiny_folder("qwen2", tmp_path / "language")
    (language / "generation_config.json").write_text('{"do_sample": true, "temperature": 0.3, "eos_token_id": [3, 4]}')
    compose_llava(Request(str(language), str(half("clip")), tmp_path / "out"))

    written = json.loads((tmp_path / "out/generation_config.json").read_text())
    assert (written["temperature"], written["eos_token_id"]) == (0.3, [3, 4])


@pytest.mark.slow
@pytest.mark.parametrize("language", ["qwen2", "llama", "gemma3_text", "internlm2", "minicpm", "mistral"])
def test_packed_samples_are_the_samples_apart(language: str, joined: Callable[..., Path]) -> None:
    rows = Given(f"llava of {language}", joined(language))
    model = rows.model()
    apart = loss_and_gradients(model, [rows.batch(model, [index], packed=False) for index in range(4)])
    assert split_attention(model)
    packed = loss_and_gradients(model, [rows.batch(model, range(4), packed=True)])
    assert_same(apart, packed, rel=1e-5)


def refusal(tmp_path: Path, language: Path, tower: Path, error: type[Exception] = UsageError) -> str:
    with pytest.raises(error) as raised:
        compose_llava(Request(str(language), str(tower), tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []
    return str(raised.value)


def test_halves_of_the_wrong_kind_are_refused(half: FolderOf, tmp_path: Path, qwen2_5_vl_folder: Path) -> None:
    text, clip = half("qwen2"), half("clip")
    assert "(clip_vision_model) is no causal language model" in refusal(tmp_path, clip, clip)
    assert "(siglip) is no causal language model" in refusal(tmp_path, half("whole_siglip"), clip)
    assert "takes images or sound already" in refusal(tmp_path, qwen2_5_vl_folder, clip)
    assert "takes no pictures of one fixed size" in refusal(tmp_path, text, text)
    assert "answers in text itself" in refusal(tmp_path, text, qwen2_5_vl_folder)


def test_a_quantised_language_model_is_refused(half: FolderOf, tmp_path: Path) -> None:
    packed = tiny_folder("qwen2", tmp_path / "packed")
    config = json.loads((packed / "config.json").read_text())
    (packed / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "gptq"}}))
    assert "is quantised" in refusal(tmp_path, packed, half("clip"))


def test_a_head_that_is_more_than_a_matrix_is_seen(half: FolderOf, tmp_path: Path) -> None:
    assert "would write other text" in refusal(tmp_path, half("phi"), half("clip"), ModelError)


def test_pictures_of_another_size_than_the_tower_s_are_seen(half: FolderOf, tmp_path: Path) -> None:
    other = tmp_path / "tower"
    write_clip(other, size=84)
    (other / "preprocessor_config.json").write_bytes((half("clip") / "preprocessor_config.json").read_bytes())
    assert "makes pictures of 56 x 56 pixels" in refusal(tmp_path, half("qwen2"), other, ModelError)
    (other / "preprocessor_config.json").unlink()
    assert "no usable preprocessor_config.json" in refusal(tmp_path, half("qwen2"), other, ModelError)


def test_only_a_model_may_be_replaced_and_only_when_asked(half: FolderOf, tmp_path: Path) -> None:
    request = Request(str(half("qwen2")), str(half("clip")), tmp_path / "out")
    compose_llava(request)
    with pytest.raises(UsageError, match="set overwrite_output_dir=true"):
        compose_llava(request)
    insisting = replace(request, overwrite_output_dir=True)
    compose_llava(insisting)

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="holds no model"):
        compose_llava(replace(insisting, output=tmp_path / "mine"))
    with pytest.raises(UsageError, match="holds one of the models"):
        compose_llava(replace(insisting, output=half("qwen2")))


def test_no_weight_is_copied(half: FolderOf) -> None:
    language = load_language_model(half("llama"))
    tower = load_vision_tower(half("clip"), dtype=torch.float32)
    own = {tensor.data_ptr() for part in (language.model, tower.model) for tensor in part.parameters()}

    model = join(language, tower, seed=0)

    fresh = {name for name, parameter in model.named_parameters() if parameter.data_ptr() not in own}
    assert fresh == {name for name, _ in model.named_parameters() if ".multi_modal_projector." in name}


def test_a_disk_that_is_too_small_is_seen_before_anything_is_read(
    half: FolderOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    assert "free some, or choose an --output on another disk" in refusal(
        tmp_path, half("qwen2"), half("clip"), RunError
    )


def test_there_are_language_models_of_our_own_among_them() -> None:
    assert {"internlm2", "minicpm"} <= set(JOINABLE) <= set(KINDS)
