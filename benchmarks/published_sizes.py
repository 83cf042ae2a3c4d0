"""Folders with a published model's sizes and no weights: the tests' tiny folder of the architecture, its config grown.

The small sizes exist to try a script where the full ones do not fit. Weights are drawn when a folder is loaded with
`train_from_scratch`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests.tiny import tiny_folder  # noqa: E402

Size = Literal["full", "small"]
Config = dict[str, Any]


def _nothing_else(folder: Path) -> None:
    """For models whose config.json is all that has a size."""


@dataclass(frozen=True, slots=True)
class Published:
    """One model.

    kind:                the tests' name of its architecture
    sizes:               entries of config.json by size; those of its sections are merged into them
    sees:                whether its rows have pictures
    patches_per_picture: what the tower makes of one of 512 x 512 pixels
    finish:              what is changed beside config.json
    """

    kind: str
    sizes: Mapping[Size, Config]
    sees: bool
    patches_per_picture: int = 0
    finish: Callable[[Path], None] = _nothing_else


def write_folder(published: Published, folder: Path, *, size: Size) -> Path:
    """Tokenizer, processor and a config.json of the wanted size."""
    tiny_folder(published.kind, folder)
    for weights in [*folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json")]:
        weights.unlink()
    config: Config = json.loads((folder / "config.json").read_text())
    for key, value in published.sizes[size].items():
        config[key] = {**_without_layer_types(config[key]), **value} if isinstance(value, dict) else value
    (folder / "config.json").write_text(json.dumps(_without_layer_types(config)))
    published.finish(folder)
    return folder


def _without_layer_types(config: Config) -> Config:
    """One entry a layer, of as many as the tiny model has; transformers writes them anew."""
    return {key: value for key, value in config.items() if key != "layer_types"}


def _qwen_pixel_budget(folder: Path) -> None:
    processor = json.loads((folder / "processor_config.json").read_text())
    processor["image_processor"]["size"] = {"shortest_edge": 56 * 56, "longest_edge": 12845056}
    (folder / "processor_config.json").write_text(json.dumps(processor))


PUBLISHED: Mapping[str, Published] = {
    "qwen2_5_vl_3b": Published(
        kind="qwen2_5_vl",
        sees=True,
        patches_per_picture=36 * 36,
        finish=_qwen_pixel_budget,
        sizes={
            "full": {
                "tie_word_embeddings": True,
                "text_config": {
                    "vocab_size": 151936,
                    "hidden_size": 2048,
                    "intermediate_size": 11008,
                    "num_hidden_layers": 36,
                    "num_attention_heads": 16,
                    "num_key_value_heads": 2,
                    "max_position_embeddings": 32768,
                    "rope_parameters": {"rope_type": "default", "mrope_section": [16, 24, 24], "rope_theta": 1e6},
                },
                "vision_config": {
                    "depth": 32,
                    "hidden_size": 1280,
                    "intermediate_size": 3420,
                    "num_heads": 16,
                    "out_hidden_size": 2048,
                    "fullatt_block_indexes": [7, 15, 23, 31],
                    "window_size": 112,
                },
            },
            "small": {
                "tie_word_embeddings": True,
                "text_config": {
                    "vocab_size": 151936,
                    "hidden_size": 256,
                    "intermediate_size": 1024,
                    "num_hidden_layers": 4,
                    "num_attention_heads": 4,
                    "num_key_value_heads": 2,
                    "rope_parameters": {"rope_type": "default", "mrope_section": [8, 12, 12], "rope_theta": 1e6},
                },
                "vision_config": {"depth": 4, "hidden_size": 160, "intermediate_size": 428, "out_hidden_size": 256},
            },
        },
    ),
    "minicpm_v_4_5": Published(
        kind="minicpmv_4_5",
        sees=True,
        patches_per_picture=32 * 32 + 2 * 45 * 23,  # the whole picture, and two slices of 630 x 322
        sizes={
            "full": {
                "vocab_size": 151748,
                "hidden_size": 4096,
                "intermediate_size": 12288,
                "num_hidden_layers": 36,
                "num_attention_heads": 32,
                "num_key_value_heads": 8,
                "head_dim": 128,
                "max_position_embeddings": 40960,
                "query_num": 64,
                "vision_config": {
                    "hidden_size": 1152,
                    "image_size": 980,
                    "intermediate_size": 4304,
                    "num_attention_heads": 16,
                    "num_hidden_layers": 27,
                },
            },
            "small": {
                "vocab_size": 151748,
                "hidden_size": 256,
                "intermediate_size": 768,
                "num_hidden_layers": 4,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "head_dim": 64,
                "vision_config": {
                    "hidden_size": 144,
                    "image_size": 980,
                    "intermediate_size": 538,
                    "num_attention_heads": 2,
                    "num_hidden_layers": 4,
                },
            },
        },
    ),
    "internlm2_1_8b": Published(
        kind="internlm2",
        sees=False,
        sizes={
            "full": {
                "vocab_size": 92544,
                "hidden_size": 2048,
                "intermediate_size": 8192,
                "num_hidden_layers": 24,
                "num_attention_heads": 16,
                "num_key_value_heads": 8,
                "max_position_embeddings": 32768,
                "rope_theta": 1000000,
            },
            "small": {
                "vocab_size": 92544,
                "hidden_size": 256,
                "intermediate_size": 1024,
                "num_hidden_layers": 4,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
            },
        },
    ),
}
