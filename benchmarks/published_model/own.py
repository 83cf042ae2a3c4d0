"""Tunesmith answers, in a process of its own so that only one model is in memory at a time.

python -m benchmarks.published_model.own FOLDER QUESTIONS ANSWERS DTYPE DEVICE NUM_LOGITS
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import PreTrainedTokenizerBase

import tunesmith
from benchmarks.published_model.published import seconds_of
from tunesmith.media.frame_budget import PackingRules


def main() -> None:
    """Answer every question of a file."""
    folder, questions, answers, dtype, device, num_logits = sys.argv[1:]
    model, reader = tunesmith.load(folder, dtype=dtype, device=device)
    with torch.inference_mode():
        found = {
            question["name"]: _ask(model, reader, question, int(num_logits))
            for question in json.loads(Path(questions).read_text(encoding="utf-8"))
        }
    torch.save(found, answers)


def _ask(model: Any, reader: Any, question: dict[str, Any], num_logits: int) -> dict[str, torch.Tensor]:
    inputs = _text(reader, question) if isinstance(reader, PreTrainedTokenizerBase) else _media(reader, question)
    moved = {name: value.to(model.device) for name, value in inputs.items() if isinstance(value, torch.Tensor)}
    logits = model(**moved, use_cache=False, logits_to_keep=num_logits).logits
    answer = {"input_ids": moved["input_ids"][0].cpu(), "logits": logits[0].float().cpu()}
    answer["seconds"] = seconds_of(lambda: model(**moved, use_cache=False))  # all logits, as the other side makes them
    media = {name: moved[name].cpu() for name in ("pixel_values", "tgt_sizes") if name in moved}
    return answer | media


def _text(tokenizer: PreTrainedTokenizerBase, question: dict[str, Any]) -> Any:
    if tokenizer.chat_template is None:
        return tokenizer(question["text"], return_tensors="pt")
    turns = [{"role": "user", "content": question["text"]}]
    prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return tokenizer(prompt, return_tensors="pt", add_special_tokens=False)


def _media(processor: Any, question: dict[str, Any]) -> Any:
    pictures = [Image.open(file).convert("RGB") for file in question["images"]]
    clip = question["clip"]
    parts = [{"type": "image"}] * len(pictures) if clip is None else [{"type": "video"}]
    turns = [{"role": "user", "content": [*parts, {"type": "text", "text": question["text"]}]}]
    prompt = processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    if clip is None:
        return processor(text=[prompt], images=[pictures] if pictures else None, return_tensors="pt")
    processor.video_processor.packing = PackingRules(
        clip["fps"] / clip["step"], max_packing=len(clip["times"][0]), max_groups=len(clip["times"])
    )
    metadata = {
        "fps": clip["fps"],
        "total_num_frames": clip["num_file_frames"],
        "frames_indices": list(range(0, clip["num_file_frames"], clip["step"])),
    }
    return processor(text=[prompt], videos=[[pictures]], video_metadata=[metadata], return_tensors="pt")


if __name__ == "__main__":
    main()
