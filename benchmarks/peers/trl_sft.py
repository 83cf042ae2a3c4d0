"""TRL's SFTTrainer on alpaca rows; runs in TRL's environment: python trl_sft.py run.json."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer
from trl_steps import Steps, shared_arguments


def main(order: dict[str, Any]) -> None:
    """Train as `order` says."""
    rows = json.loads((Path(order["dataset_dir"]) / f"{order['dataset']}.json").read_text(encoding="utf-8"))
    examples = [
        {
            "prompt": [{"role": "user", "content": "\n".join(filter(None, (row["instruction"], row.get("input"))))}],
            "completion": [{"role": "assistant", "content": row["output"]}],
        }
        for row in rows[: order["max_samples"]]
    ]
    config = SFTConfig(
        per_device_train_batch_size=1 if order["packing"] else order["per_device_train_batch_size"],
        max_length=order["cutoff_len"],
        packing=order["packing"],
        completion_only_loss=True,
        **shared_arguments(order),
    )
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(order["model_name_or_path"], dtype="float32"),
        processing_class=AutoTokenizer.from_pretrained(order["model_name_or_path"]),
        args=config,
        train_dataset=Dataset.from_list(examples),
        peft_config=LoraConfig(r=8, lora_alpha=16, target_modules="all-linear"),
        callbacks=[Steps(Path(order["steps_file"]))],
    )
    trainer.train()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
