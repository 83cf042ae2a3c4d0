"""`python -m examples.demo`: pictures, a tiny Qwen2.5-VL, two trainings, a merge, and what each of them changed.

Everything that trains or merges is a public command with a YAML file of this folder, printed before it runs; everything
that is measured is measured on pictures that no training saw. Takes a few minutes on two CPU cores.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

from examples.demo.commands import USUAL_OUTPUT, tunesmith
from examples.demo.contact_sheet import write_contact_sheet
from examples.demo.dataset import write_dataset
from examples.demo.model import write_model
from examples.demo.questions import LANGUAGES
from examples.demo.scenes import Scene, draw_scenes
from examples.demo.score import accuracy, ask_model, chance
from examples.demo.table import Accuracies, print_examples, print_table

NUM_TRAIN, NUM_HELD_OUT = 600, 100
SEED = 1


def main() -> None:
    """Run the demo from an empty folder to its table."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--output", type=Path, default=USUAL_OUTPUT, help="the folder for everything (demo)")
    output: Path = parser.parse_args().output
    started = time.monotonic()
    _make_room(output)
    held_out = _prepare(output)
    accuracies = _train_and_measure(output, held_out)
    (output / "accuracy.json").write_text(json.dumps(accuracies, indent=1) + "\n", encoding="utf-8")
    print_table(accuracies, num_pictures=NUM_HELD_OUT)
    for shown in ("contact_sheet.png", "english/training_loss.png", "chinese/training_loss.png"):
        print(f"look at     {output / shown}")
    print(f"talk to it  tunesmith chat {output / 'merged'} --image {output / 'data/held_out/000.png'}")
    print(f"{time.monotonic() - started:.0f} s in all")


def _make_room(output: Path) -> None:
    """Remove an earlier demo; anything else in the way is left alone."""
    if not output.exists():
        return
    if not (output / "data" / "dataset_info.json").is_file():
        sys.exit(f"{output} exists and is no earlier demo; name another folder with --output FOLDER")
    shutil.rmtree(output)


def _prepare(output: Path) -> list[Scene]:
    """Write the dataset and the random model; returns the held-out pictures."""
    scenes = draw_scenes(NUM_TRAIN + NUM_HELD_OUT, seed=SEED)
    train, held_out = scenes[:NUM_TRAIN], scenes[NUM_TRAIN:]
    write_dataset(output / "data", {"train": train, "held_out": held_out})
    asked = [question for scene in train for ask in LANGUAGES.values() for question in ask(scene)]
    texts = [f"user\n{question.text}\nassistant\n{question.answer}" for question in asked]
    write_model(output / "base", ["system\nYou are a helpful assistant.\nSay in Chinese:", *texts], seed=SEED)
    print(f"{output}: {NUM_TRAIN} pictures to learn from, {NUM_HELD_OUT} held out, a Qwen2.5-VL with random weights")
    return held_out


def _train_and_measure(output: Path, held_out: list[Scene]) -> Accuracies:
    """Every stage in its order, with the accuracy before and after it."""
    english = {"always the same answer": chance(held_out, language="english")}
    chinese = {"always the same answer": chance(held_out, language="chinese")}
    english["random weights"] = accuracy(ask_model(output / "base", held_out, language="english"))

    tunesmith("train", "english.yaml", output=output)
    answers = ask_model(output / "english", held_out, language="english")
    english["after training in English"] = accuracy(answers)
    chinese["after training in English"] = accuracy(ask_model(output / "english", held_out, language="chinese"))
    title = "Held-out pictures, and what the model says of them"
    write_contact_sheet(output / "contact_sheet.png", answers, title=title)

    tunesmith("train", "chinese.yaml", output=output)
    chinese["with the adapter"] = accuracy(ask_model(output / "chinese", held_out, language="chinese"))

    tunesmith("export", "merge.yaml", output=output)
    answers = ask_model(output / "merged", held_out, language="chinese")
    chinese["adapter merged"] = accuracy(answers)
    print_examples(answers, num_pictures=5)
    return {"english": english, "chinese": chinese}


if __name__ == "__main__":
    main()
