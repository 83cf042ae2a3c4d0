"""Tiny vision-language models of the families beside Qwen2.5-VL, each with its own kind of image processing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import (
    CLIPImageProcessor,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessor,
    Gemma3Processor,
    Glm4vConfig,
    Glm4vForConditionalGeneration,
    Glm4vImageProcessor,
    Glm4vProcessor,
    Glm4vVideoProcessor,
    GotOcr2ImageProcessor,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    LlavaProcessor,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    PixtralImageProcessor,
    PixtralProcessor,
    PreTrainedTokenizerBase,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)

from tests.tiny.kinds import read_template, save_random_model
from tests.tiny.qwen import MROPE, PIXEL_BUDGET, SPECIAL_TOKENS, qwen2_tokenizer, text_sizes, vision_token_ids
from tests.tiny.text import gemma_tokenizer, glm_tokenizer, mistral_tokenizer, sizes
from tests.tiny.tokenizer import build_bpe_tokenizer, build_qwen_tokenizer

_TOWER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}


def build_qwen2_vl(folder: Path) -> None:
    """Qwen2-VL: like 2.5, without windows in the tower."""
    tokenizer = qwen2_tokenizer("qwen2_vl")
    processor = Qwen2VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=dict(PIXEL_BUDGET)),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(size=dict(PIXEL_BUDGET)),
        chat_template=tokenizer.chat_template,
    )
    processor.save_pretrained(folder)
    config = Qwen2VLConfig(
        text_config={**text_sizes(tokenizer), "rope_parameters": MROPE},
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2},
        **vision_token_ids(tokenizer),
    )
    save_random_model(Qwen2VLForConditionalGeneration, config, folder)


def build_qwen3_vl(folder: Path) -> None:
    """Qwen3-VL: 16-pixel patches, features of inner tower layers added to the first layers of the language model."""
    tokenizer = qwen2_tokenizer("qwen2_vl")
    budget = {"shortest_edge": 32 * 32, "longest_edge": 32 * 32 * 64}
    processor = Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=dict(budget), patch_size=16),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(size=dict(budget)),
        chat_template=tokenizer.chat_template,
    )
    processor.save_pretrained(folder)
    config = Qwen3VLConfig(
        text_config={**text_sizes(tokenizer), "head_dim": 16, "rope_parameters": {**MROPE, "mrope_interleaved": True}},
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": 32,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1],
        },
        **vision_token_ids(tokenizer),
    )
    save_random_model(Qwen3VLForConditionalGeneration, config, folder)


def build_gemma3(folder: Path) -> None:
    """Gemma 3: every picture is 4 tokens between two line breaks; pictures attend both ways."""
    tokenizer = gemma_tokenizer()
    processor = Gemma3Processor(
        image_processor=Gemma3ImageProcessor(size={"height": 56, "width": 56}),
        tokenizer=tokenizer,
        chat_template=tokenizer.chat_template,
        image_seq_length=4,
    )
    processor.save_pretrained(folder)
    config = Gemma3Config(
        text_config={**sizes(tokenizer), "head_dim": 16, "sliding_window": 64},
        vision_config={**_TOWER, "image_size": 56, "patch_size": 14, "vision_use_head": False},
        mm_tokens_per_image=4,
        boi_token_index=tokenizer.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=tokenizer.convert_tokens_to_ids("<end_of_image>"),
        image_token_index=tokenizer.convert_tokens_to_ids("<image_soft_token>"),
        eos_token_id=tokenizer.eos_token_id,
    )
    save_random_model(Gemma3ForConditionalGeneration, config, folder)


def build_llava(folder: Path) -> None:
    """LLaVA 1.5: a CLIP tower of fixed size, the layer before the last taken, the class token left out."""
    tokenizer = build_bpe_tokenizer(
        ("<image>",), bos_token="<s>", eos_token="</s>", pad_token="<pad>", chat_template=read_template("llava")
    )
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessor(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56}),
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    )
    processor.save_pretrained(folder)
    config = LlavaConfig(
        text_config={"model_type": "llama", **sizes(tokenizer)},
        vision_config={"model_type": "clip_vision_model", **_TOWER, "image_size": 56, "patch_size": 14},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
    )
    save_random_model(LlavaForConditionalGeneration, config, folder)


def build_llava_onevision(folder: Path) -> None:
    """LLaVA-OneVision: a SigLIP tower, tiles chosen from a list of shapes, a learned line end."""
    tokenizer = build_qwen_tokenizer(
        (*SPECIAL_TOKENS, "<image>", "<video>"), chat_template=read_template("llava_onevision")
    )
    pinpoints = [[28, 28], [28, 56], [56, 28], [56, 56]]
    processor = LlavaOnevisionProcessor(
        image_processor=LlavaOnevisionImageProcessor(
            size={"height": 28, "width": 28}, image_grid_pinpoints=pinpoints, do_pad=True
        ),
        tokenizer=tokenizer,
        video_processor=LlavaOnevisionVideoProcessor(size={"height": 28, "width": 28}),
        num_image_tokens=4,
        vision_feature_select_strategy="full",
        chat_template=tokenizer.chat_template,
    )
    processor.save_pretrained(folder)
    config = LlavaOnevisionConfig(
        text_config={"model_type": "qwen2", **text_sizes(tokenizer)},
        vision_config={
            "model_type": "siglip_vision_model",
            **_TOWER,
            "image_size": 28,
            "patch_size": 14,
            "vision_use_head": False,
        },
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=pinpoints,
    )
    save_random_model(LlavaOnevisionForConditionalGeneration, config, folder)


def build_internvl(folder: Path) -> None:
    """InternVL 3: tiles of one size, four patches folded into a token."""
    named = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    tokenizer = build_qwen_tokenizer(SPECIAL_TOKENS, chat_template=read_template("internvl"), named_tokens=named)
    size = {"height": 56, "width": 56}
    processor = InternVLProcessor(
        image_processor=GotOcr2ImageProcessor(size=size, max_patches=4),
        tokenizer=tokenizer,
        video_processor=InternVLVideoProcessor(size=size),
        image_seq_length=4,
        chat_template=tokenizer.chat_template,
    )
    processor.save_pretrained(folder)
    config = InternVLConfig(
        text_config={"model_type": "qwen2", **text_sizes(tokenizer)},
        vision_config={**_TOWER, "image_size": [56, 56], "patch_size": [14, 14]},
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    save_random_model(InternVLForConditionalGeneration, config, folder)


def _idefics_tokenizer() -> PreTrainedTokenizerBase:
    grid = tuple(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7))
    return build_bpe_tokenizer(
        ("<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", *grid),
        bos_token="<|im_start|>",
        eos_token="<end_of_utterance>",
        pad_token="<|im_end|>",
        chat_template=read_template("idefics3"),
    )


def _idefics_config(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    return {
        "text_config": {"model_type": "llama", **sizes(tokenizer)},
        "vision_config": {**_TOWER, "image_size": 56, "patch_size": 14},
        "image_token_id": tokenizer.convert_tokens_to_ids("<image>"),
        "pad_token_id": tokenizer.pad_token_id,
        "scale_factor": 2,
    }


def build_idefics3(folder: Path) -> None:
    """Idefics3: tiles with their row and column, then the whole picture."""
    tokenizer = _idefics_tokenizer()
    processor = Idefics3Processor(
        image_processor=Idefics3ImageProcessor(size={"longest_edge": 112}, max_image_size={"longest_edge": 56}),
        tokenizer=tokenizer,
        image_seq_len=4,
        chat_template=tokenizer.chat_template,
    )
    processor.save_pretrained(folder)
    save_random_model(Idefics3ForConditionalGeneration, Idefics3Config(**_idefics_config(tokenizer)), folder)


def build_smolvlm(folder: Path) -> None:
    """SmolVLM: Idefics3's tiles; its processor needs the package num2words."""
    tokenizer = _idefics_tokenizer()
    tiles: dict[str, Any] = {"size": {"longest_edge": 112}, "max_image_size": {"longest_edge": 56}}
    processor = SmolVLMProcessor(
        image_processor=SmolVLMImageProcessor(**tiles),
        tokenizer=tokenizer,
        video_processor=SmolVLMVideoProcessor(**tiles),
        image_seq_len=4,
        chat_template=tokenizer.chat_template,
    )
    processor.save_pretrained(folder)
    save_random_model(SmolVLMForConditionalGeneration, SmolVLMConfig(**_idefics_config(tokenizer)), folder)


def build_mistral3(folder: Path) -> None:
    """Mistral Small 3.1: a Pixtral tower for any aspect ratio, a token at the end of every line of patches."""
    tokenizer = mistral_tokenizer()
    processor = PixtralProcessor(
        image_processor=PixtralImageProcessor(size={"longest_edge": 112}, patch_size={"height": 14, "width": 14}),
        tokenizer=tokenizer,
        patch_size=14,
        spatial_merge_size=2,
        chat_template=tokenizer.chat_template,
    )
    processor.save_pretrained(folder)
    config = Mistral3Config(
        text_config={"model_type": "mistral", **sizes(tokenizer), "head_dim": 16},
        vision_config={"model_type": "pixtral", **_TOWER, "head_dim": 16, "image_size": 112, "patch_size": 14},
        image_token_index=tokenizer.convert_tokens_to_ids("[IMG]"),
        spatial_merge_size=2,
        tie_word_embeddings=False,
    )
    save_random_model(Mistral3ForConditionalGeneration, config, folder)


def build_glm4v(folder: Path) -> None:
    """GLM-4.1V: a pixel budget that counts a still picture as two frames."""
    tokenizer = glm_tokenizer()
    budget = {"shortest_edge": 2 * 28 * 28, "longest_edge": 2 * 28 * 28 * 64}
    processor = Glm4vProcessor(
        image_processor=Glm4vImageProcessor(size=dict(budget)),
        tokenizer=tokenizer,
        video_processor=Glm4vVideoProcessor(size=dict(budget)),
        chat_template=tokenizer.chat_template,
    )
    processor.save_pretrained(folder)
    ids = tokenizer.convert_tokens_to_ids
    config = Glm4vConfig(
        text_config={**sizes(tokenizer), "rope_parameters": {**MROPE, "partial_rotary_factor": 1.0}},
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": 32,
            "image_size": 112,
        },
        image_token_id=ids("<|image|>"),
        video_token_id=ids("<|video|>"),
        image_start_token_id=ids("<|begin_of_image|>"),
        image_end_token_id=ids("<|end_of_image|>"),
        video_start_token_id=ids("<|begin_of_video|>"),
        video_end_token_id=ids("<|end_of_video|>"),
    )
    save_random_model(Glm4vForConditionalGeneration, config, folder)
