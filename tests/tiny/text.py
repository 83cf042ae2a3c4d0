"""Tiny text models of the families beside Qwen2: tokenizer with the family's special tokens, config, weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    Glm4Config,
    Glm4ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from tests.tiny.kinds import padded_vocab_size, read_template, save_random_model
from tests.tiny.qwen import qwen2_tokenizer
from tests.tiny.tokenizer import build_bpe_tokenizer

LLAMA3_TOKENS = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
GEMMA_TOKENS = {
    "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>",
    "image_token": "<image_soft_token>",
    "start_of_turn_token": "<start_of_turn>",
    "end_of_turn_token": "<end_of_turn>",
}
MISTRAL_TOKENS = ("[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[IMG]", "[IMG_BREAK]", "[IMG_END]")
GLM_TOKENS = (
    *("[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"),
    *("<|begin_of_image|>", "<|end_of_image|>", "<|image|>"),
    *("<|begin_of_video|>", "<|end_of_video|>", "<|video|>"),
)


def llama3_tokenizer() -> PreTrainedTokenizerBase:
    """Llama 3's special tokens: `<|eot_id|>` ends a turn; no padding token, as in the published ones."""
    return build_bpe_tokenizer(
        LLAMA3_TOKENS,
        bos_token="<|begin_of_text|>",
        eos_token="<|eot_id|>",
        pad_token=None,
        chat_template=read_template("llama3"),
    )


def gemma_tokenizer() -> PreTrainedTokenizerBase:
    """Gemma 3's special tokens, those for images by name as its processor wants them."""
    return build_bpe_tokenizer(
        tuple(GEMMA_TOKENS.values()),
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        chat_template=read_template("gemma"),
        named_tokens=GEMMA_TOKENS,
    )


def mistral_tokenizer() -> PreTrainedTokenizerBase:
    """Mistral's special tokens, those of Pixtral among them."""
    return build_bpe_tokenizer(
        MISTRAL_TOKENS, bos_token="<s>", eos_token="</s>", pad_token="<pad>", chat_template=read_template("mistral")
    )


def glm_tokenizer() -> PreTrainedTokenizerBase:
    """GLM-4's special tokens; its template opens with two of them instead of a BOS."""
    return build_bpe_tokenizer(
        GLM_TOKENS,
        bos_token=None,
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        chat_template=read_template("glm4"),
    )


def phi3_tokenizer() -> PreTrainedTokenizerBase:
    """Phi-3's special tokens: `<|end|>` ends a turn, `<|endoftext|>` the text."""
    return build_bpe_tokenizer(
        ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        bos_token="<s>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        chat_template=read_template("phi3"),
    )


def base_tokenizer() -> PreTrainedTokenizerBase:
    """A base model's: no chat template, no padding token."""
    return build_bpe_tokenizer(
        (), bos_token="<|endoftext|>", eos_token="<|endoftext|>", pad_token=None, chat_template=None
    )


def sizes(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """What every tiny language model has in common, in the names most configs use."""
    return {
        "vocab_size": padded_vocab_size(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 4096,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _build(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    config_class: type[PretrainedConfig],
    model_class: type[PreTrainedModel],
    **extra: Any,
) -> None:
    tokenizer.save_pretrained(folder)
    save_random_model(model_class, config_class(**{**sizes(tokenizer), **extra}), folder)


def build_llama(folder: Path) -> None:
    """Llama 3."""
    _build(folder, llama3_tokenizer(), LlamaConfig, LlamaForCausalLM)


def build_qwen3(folder: Path) -> None:
    """Qwen3: query and key norms, a template that drops old thoughts and adds an empty one."""
    tokenizer = qwen2_tokenizer("qwen3")
    _build(folder, tokenizer, Qwen3Config, Qwen3ForCausalLM, head_dim=16, tie_word_embeddings=True)


def build_qwen3_moe(folder: Path) -> None:
    """Qwen3 with four experts, two of which answer."""
    _build(
        folder,
        qwen2_tokenizer("qwen3"),
        Qwen3MoeConfig,
        Qwen3MoeForCausalLM,
        head_dim=16,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
    )


def build_gemma3_text(folder: Path) -> None:
    """Gemma 3, text only: scaled embeddings, sliding windows, tied head."""
    _build(folder, gemma_tokenizer(), Gemma3TextConfig, Gemma3ForCausalLM, head_dim=16, sliding_window=64)


def build_mistral(folder: Path) -> None:
    """Mistral 7B's shape."""
    _build(folder, mistral_tokenizer(), MistralConfig, MistralForCausalLM, sliding_window=None)


def build_internlm3(folder: Path) -> None:
    """InternLM3: a config of its own for Llama's class; newer versions of transformers have it."""
    from transformers import InternLM3Config

    _build(folder, qwen2_tokenizer(), InternLM3Config, LlamaForCausalLM, head_dim=16)


def build_phi(folder: Path) -> None:
    """Phi-2: attention and feed-forward side by side, layer norms, an output head with a bias."""
    _build(folder, base_tokenizer(), PhiConfig, PhiForCausalLM, num_key_value_heads=2)


def build_phi3(folder: Path) -> None:
    """Phi-3 and Phi-4-mini: fused projections."""
    _build(folder, phi3_tokenizer(), Phi3Config, Phi3ForCausalLM)


def build_glm4(folder: Path) -> None:
    """GLM-4-0414: norms after attention and feed-forward too."""
    _build(folder, glm_tokenizer(), Glm4Config, Glm4ForCausalLM, head_dim=16)


def build_gpt2(folder: Path) -> None:
    """GPT-2: layers that are transposed linear ones, learned positions."""
    tokenizer = base_tokenizer()
    tokenizer.save_pretrained(folder)
    config = GPT2Config(
        vocab_size=padded_vocab_size(tokenizer),
        n_embd=32,
        n_layer=2,
        n_head=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    save_random_model(GPT2LMHeadModel, config, folder)
