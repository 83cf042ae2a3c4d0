"""What the comparisons train on: models of real architectures with random weights, and drawn rows and pictures.

Nothing is downloaded. With a folder that holds a real tokenizer (`--tokenizer`) text is cut as a real model cuts it;
without one the small tokenizer of the tests is used, and the vocabulary of the model stays the real one's size.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from PIL import Image  # noqa: E402
from tests.tiny import tiny_folder  # noqa: E402
from tests.tiny.qwen import SPECIAL_TOKENS, qwen2_tokenizer  # noqa: E402
from transformers import (  # noqa: E402
    AutoProcessor,
    AutoTokenizer,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from tunesmith.chat.bundled import load_bundled  # noqa: E402

VOCABULARY = 151_936
_WORDS = (
    "the model of a small town near river light and glass carries every day more people than it can hold so that "
    "they learn to share what is left while others describe how data moves through layers until an answer appears"
).split()


def load_tokenizer(folder: Path | None) -> Any:
    """The real Qwen tokenizer in `folder` with its chat template, or the tests' own."""
    if folder is None:
        return qwen2_tokenizer()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"})
    missing = [token for token in SPECIAL_TOKENS if token not in tokenizer.get_vocab()]
    if missing:
        raise SystemExit(f"{folder} is no Qwen tokenizer: it lacks {missing[0]}")
    tokenizer.chat_template = load_bundled("qwen")
    return tokenizer


def build_text_model(folder: Path, *, tokenizer: Any, vocabulary: int = VOCABULARY) -> Path:
    """A Qwen2 of 45M parameters: six layers, hidden size 256, head and embedding of 151,936 tokens tied."""
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32768,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
        pad_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        bos_token_id=None,
    )
    torch.manual_seed(0)
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def build_preference_vision_model(folder: Path, *, tokenizer: Any, vocabulary: int = VOCABULARY) -> Path:
    """A Qwen2.5-VL whose tower costs as much a picture as its language model, as in the 3B one.

    Four layers of 512 over `vocabulary` tokens tied; a tower of four layers of 256, which sees four patches for each
    token. With the real vocabulary the head weighs seven times the layers, in the 3B model a tenth.
    """
    tiny_folder("qwen2_5_vl", folder)
    config = json.loads((folder / "config.json").read_text())
    text = {"vocab_size": vocabulary, "hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 4}
    text |= {"num_attention_heads": 8, "num_key_value_heads": 2, "max_position_embeddings": 32768}
    text |= {"rope_parameters": {"rope_type": "default", "mrope_section": [8, 12, 12], "rope_theta": 1e6}}
    vision = {"depth": 4, "hidden_size": 256, "intermediate_size": 680, "num_heads": 8, "out_hidden_size": 512}
    vision |= {"fullatt_block_indexes": [3], "window_size": 112}
    config["text_config"] = {**config["text_config"], **text}
    config["text_config"].pop("layer_types", None)
    config["vision_config"] = {**config["vision_config"], **vision}
    config["tie_word_embeddings"] = True
    processor = AutoProcessor.from_pretrained(folder)
    processor.tokenizer = _with_vision_template(tokenizer, like=processor.tokenizer)
    processor.image_processor.size = {"shortest_edge": 56 * 56, "longest_edge": 4096 * 4096}
    vision_ids = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"}
    vision_ids |= {"vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"}
    config |= {key: tokenizer.convert_tokens_to_ids(token) for key, token in vision_ids.items()}
    config["text_config"]["eos_token_id"] = tokenizer.convert_tokens_to_ids("<|im_end|>")
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**config))
    for file in folder.iterdir():
        file.unlink()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _with_vision_template(tokenizer: Any, *, like: Any) -> Any:
    tokenizer.chat_template = like.chat_template
    return tokenizer


def build_vision_model(folder: Path) -> Path:
    """The tests' Qwen2.5-VL: real architecture, two layers, pictures of at most 64 tokens."""
    return tiny_folder("qwen2_5_vl", folder)


def write_text_rows(folder: Path, *, num_rows: int, name: str = "rows") -> Path:
    """Alpaca rows as `name`.json with a dataset_info.json beside: questions of 10 to 40 words, answers of 20 to 150."""
    random = Random(7)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.json").open("w", encoding="utf-8") as file:
        for number in range(num_rows):
            row = {
                "instruction": f"{number}: {_words(random, 10, 40)}?",
                "input": "",
                "output": f"{_words(random, 20, 150)}.",
            }
            file.write(("[" if number == 0 else ",\n") + json.dumps(row))
        file.write("]\n")
    return register(folder, name, {"file_name": f"{name}.json"})


def repeat_text_rows(given: Path, folder: Path, *, num_rows: int, name: str = "rows") -> Path:
    """The alpaca rows of the file `given`, numbered and repeated until there are `num_rows`, as write_text_rows."""
    rows = json.loads(given.read_text(encoding="utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.json").open("w", encoding="utf-8") as file:
        for number in range(num_rows):
            row = rows[number % len(rows)]
            marked = {**row, "instruction": f"{number}: {row['instruction']}"}
            file.write(("[" if number == 0 else ",\n") + json.dumps(marked, ensure_ascii=False))
        file.write("]\n")
    return register(folder, name, {"file_name": f"{name}.json"})


def write_image_rows(
    folder: Path, *, num_rows: int, num_pictures: int, sizes: tuple[tuple[int, int], ...], name: str = "pictures"
) -> Path:
    """Rows of one picture each; `num_pictures` JPEG files of the sizes in turn, the other rows are hard links."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(num_rows):
        file = folder / "images" / f"{number}.jpg"
        if number < num_pictures:
            _draw(sizes[number % len(sizes)], seed=number).save(file, quality=90)
        else:
            file.unlink(missing_ok=True)
            file.hardlink_to(folder / "images" / f"{number % num_pictures}.jpg")
        rows.append(
            {
                "messages": [
                    {"role": "user", "content": f"<image>What is picture {number}?"},
                    {"role": "assistant", "content": f"It is number {number}, drawn by chance."},
                ],
                "images": [f"images/{number}.jpg"],
            }
        )
    (folder / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")
    entry = {
        "file_name": f"{name}.json",
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "images": "images"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
    }
    return register(folder, name, entry)


@dataclass(frozen=True, slots=True)
class PairSizes:
    """Words of the question and of either answer; the side of a square picture in pixels, None for text alone."""

    question: int
    answer: int
    picture: int | None = None


def write_pairs(folder: Path, sizes: PairSizes, *, num_rows: int, name: str = "pairs") -> Path:
    """Preference pairs in the sharegpt form; lengths vary by a quarter around `sizes`."""
    random = Random(11)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = [_pair(random, sizes, number) for number in range(num_rows)]
    if sizes.picture is not None:
        for number, row in enumerate(rows):
            row["images"] = [f"images/{number}.jpg"]
            _draw((sizes.picture, sizes.picture), seed=number).save(folder / row["images"][0], quality=90)
    (folder / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")
    columns = {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"}
    columns |= {"images": "images"} if sizes.picture is not None else {}
    entry = {"file_name": f"{name}.json", "formatting": "sharegpt", "ranking": True, "columns": columns}
    return register(folder, name, entry)


def _pair(random: Random, sizes: PairSizes, number: int) -> dict[str, Any]:
    def about(words: int) -> str:
        return _words(random, max(words * 3 // 4, 1), words * 5 // 4)

    marker = "<image>" if sizes.picture is not None else ""
    return {
        "conversations": [{"from": "human", "value": f"{marker}{number}: {about(sizes.question)}?"}],
        "chosen": {"from": "gpt", "value": f"{about(sizes.answer)}."},
        "rejected": {"from": "gpt", "value": f"{about(sizes.answer)}!"},
    }


def register(folder: Path, name: str, entry: dict[str, Any]) -> Path:
    """Add `entry` to dataset_info.json of `folder`; the folder."""
    file = folder / "dataset_info.json"
    entries = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    file.write_text(json.dumps({**entries, name: entry}, indent=1), encoding="utf-8")
    return folder


def _words(random: Random, least: int, most: int) -> str:
    return " ".join(random.choices(_WORDS, k=random.randint(least, most)))


def _draw(size: tuple[int, int], *, seed: int) -> Image.Image:
    """Coarse noise enlarged: as hard to decode as a photograph, not as large as white noise."""
    noise = Random(seed).randbytes(size[0] // 8 * (size[1] // 8) * 3)
    return Image.frombytes("RGB", (size[0] // 8, size[1] // 8), noise).resize(size)
