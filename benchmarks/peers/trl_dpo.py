"""TRL's DPOTrainer on sharegpt pairs, with pictures or without; in TRL's environment: python trl_dpo.py run.json."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from datasets import Dataset, Image
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor
from trl import DPOConfig, DPOTrainer
from trl_steps import Steps, shared_arguments


def main(order: dict[str, Any]) -> None:
    """Train as `order` says."""
    folder = Path(order["dataset_dir"])
    rows = json.loads((folder / f"{order['dataset']}.json").read_text(encoding="utf-8"))[: order["max_samples"]]
    sees = "images" in rows[0]
    examples = Dataset.from_list([_example(row, folder) for row in rows])
    if sees:
        examples = examples.cast_column("images", [Image()])
    config = DPOConfig(
        per_device_train_batch_size=order["per_device_train_batch_size"],
        max_length=None if sees else order["cutoff_len"],
        precompute_ref_log_probs=order["precompute"],
        **shared_arguments(order),
    )
    auto = AutoModelForImageTextToText if sees else AutoModelForCausalLM
    language_layers = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
    trainer = DPOTrainer(
        model=auto.from_pretrained(order["model_name_or_path"], dtype="float32"),
        processing_class=AutoProcessor.from_pretrained(order["model_name_or_path"]),
        args=config,
        train_dataset=examples,
        peft_config=LoraConfig(r=8, lora_alpha=16, target_modules=language_layers if sees else "all-linear"),
        callbacks=[Steps(Path(order["steps_file"]))],
    )
    trainer.train()


def _example(row: dict[str, Any], folder: Path) -> dict[str, Any]:
    """TRL's form of a pair with one question."""
    question = row["conversations"][0]["value"].replace("<image>", "")
    content: Any = question
    if "images" in row:
        content = [{"type": "image"}, {"type": "text", "text": question}]

    def answer(text: str) -> list[dict[str, Any]]:
        return [{"role": "assistant", "content": [{"type": "text", "text": text}] if "images" in row else text}]

    example = {
        "prompt": [{"role": "user", "content": content}],
        "chosen": answer(row["chosen"]["value"]),
        "rejected": answer(row["rejected"]["value"]),
    }
    return example | ({"images": [str(folder / image) for image in row["images"]]} if "images" in row else {})


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
