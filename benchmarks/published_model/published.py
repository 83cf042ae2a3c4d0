"""The folder's own code answers. Runs in an environment with the transformers it was written for, by itself.

    python published.py FOLDER QUESTIONS ANSWERS DTYPE DEVICE NUM_LOGITS

This runs the Python code in FOLDER. Knows nothing of Tunesmith.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoProcessor, AutoTokenizer

_MARKER = "(<image>./</image>)"
_MAX_LENGTH = 32768


def main() -> None:
    """Answer every question of a file."""
    folder, questions, answers, dtype, device, num_logits = sys.argv[1:]
    sees = (Path(folder) / "preprocessor_config.json").is_file()
    model = _load_model(folder, getattr(torch, dtype), device)
    auto_class = AutoProcessor if sees else AutoTokenizer
    reader = auto_class.from_pretrained(folder, trust_remote_code=True)
    ask = _ask_about_pictures if sees else _ask
    with torch.inference_mode():
        found = {
            question["name"]: ask(model, reader, question, int(num_logits))
            for question in json.loads(Path(questions).read_text(encoding="utf-8"))
        }
    torch.save(found, answers)


def _load_model(folder: str, dtype: torch.dtype, device: str) -> Any:
    config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
    for part in ("init_tts", "init_audio"):  # speech comes out of other weights, and nothing here is heard
        if hasattr(config, part):
            setattr(config, part, False)
    auto_class = AutoModelForCausalLM if "AutoModelForCausalLM" in config.auto_map else AutoModel
    model = auto_class.from_pretrained(folder, config=config, torch_dtype=dtype, trust_remote_code=True)
    return model.to(device).eval()


def _ask(model: Any, tokenizer: Any, question: dict[str, Any], num_logits: int) -> dict[str, torch.Tensor]:
    ids = _ids_of_text(tokenizer, question["text"])
    ids = ids.to(model.device)
    logits = model(input_ids=ids).logits
    seconds = seconds_of(lambda: model(input_ids=ids))
    return {"input_ids": ids[0].cpu(), "logits": _last(logits, num_logits), "seconds": seconds}


def _ids_of_text(tokenizer: Any, text: str) -> torch.Tensor:
    if tokenizer.chat_template is None:
        return tokenizer(text, return_tensors="pt").input_ids
    turns = [{"role": "user", "content": text}]
    prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return tokenizer(prompt, return_tensors="pt", add_special_tokens=False).input_ids


def _ask_about_pictures(
    model: Any, processor: Any, question: dict[str, Any], num_logits: int
) -> dict[str, torch.Tensor]:
    pictures = [Image.open(file).convert("RGB") for file in question["images"]]
    content = "\n".join([*[_MARKER] * len(pictures), question["text"]])
    turns = [{"role": "user", "content": content}]
    prompt = processor.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    inputs = processor([prompt], [pictures], return_tensors="pt", max_length=_MAX_LENGTH, **_options(question))
    given = dict(inputs.to(model.device))
    given["position_ids"] = torch.arange(given["input_ids"].shape[1], device=model.device)[None]
    logits = model(data=given).logits
    answer = {"input_ids": given["input_ids"][0].long().cpu(), "logits": _last(logits, num_logits)}
    answer["seconds"] = seconds_of(lambda: model(data=given))
    if pictures:
        answer["pixel_values"] = torch.cat([_patches(one) for one in given["pixel_values"][0]])
        answer["tgt_sizes"] = torch.as_tensor(given["tgt_sizes"][0]).long().cpu().view(-1, 2)
    return answer


def _options(question: dict[str, Any]) -> dict[str, Any]:
    clip = question["clip"]
    if clip is None:
        return {}
    return {"max_slice_nums": 1, "use_image_id": False, "temporal_ids": [[list(group) for group in clip["times"]]]}


def _patches(of_slice: torch.Tensor) -> torch.Tensor:
    """(3, 14, 14 n) patches beside each other to (n, 3, 14, 14)."""
    size = of_slice.shape[1]
    return of_slice.float().cpu().view(3, size, -1, size).permute(2, 0, 1, 3)


def seconds_of(forward: Callable[[], object]) -> torch.Tensor:
    """(), the median of three calls; the device is waited for."""
    measured = []
    for _ in range(3):
        started = time.perf_counter()
        forward()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        measured.append(time.perf_counter() - started)
    return torch.tensor(sorted(measured)[1])


def _last(logits: torch.Tensor, num_logits: int) -> torch.Tensor:
    return logits[0, -num_logits:].float().cpu()


if __name__ == "__main__":
    main()
