"""Write the table of docs/architectures.md: what every architecture did that there is a tiny random model of.

    python benchmarks/architectures.py

For each: a step in full and a step of LoRA (all parts open), both saved and read back, logits compared bit for bit; and
whether samples packed into one sequence are proven to be kept apart.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
import transformers  # noqa: E402
from tests.invariants.packed_rows import Given  # noqa: E402
from tests.models.given import batch_for_kind, logits_of, settings_for, train_a_step  # noqa: E402
from tests.tiny import KINDS, tiny_folder  # noqa: E402

from tunesmith.config.model import MediaSettings  # noqa: E402
from tunesmith.data.batches.packing_trial import build_trial  # noqa: E402
from tunesmith.models.folder import load_folder  # noqa: E402
from tunesmith.models.load import load_model  # noqa: E402
from tunesmith.models.packing.proof import PackingUnproven, prove_packing  # noqa: E402
from tunesmith.models.parts import find_parts  # noqa: E402
from tunesmith.models.preprocessing.processor import load_preprocessor, read_preprocessor  # noqa: E402
from tunesmith.models.saving import save_trained  # noqa: E402
from tunesmith.models.tuning.apply import apply_tuning  # noqa: E402

_READS = {"image": "images", "video": "videos", "audio": "sound"}
START, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"


@dataclass(frozen=True, slots=True)
class Trial:
    """Loss before and after a step, and whether the saved model answers bit for bit as the trained one."""

    before: float
    after: float
    same: bool

    def __str__(self) -> str:
        return f"{self.before:.3f} → {self.after:.3f}, {'bit-equal' if self.same else 'differs'}"


def main() -> None:
    """Try every kind and rewrite the table in the document."""
    transformers.utils.logging.disable_progress_bar()
    document = ROOT / "docs" / "architectures.md"
    text = document.read_text(encoding="utf-8")
    head, _, rest = text.partition(START)
    _, _, tail = rest.partition(END)
    document.write_text(head + START + build_table() + END + tail, encoding="utf-8")


def build_table() -> str:
    """The table in Markdown, a row a kind."""
    lines = [
        f"torch {torch.__version__.partition('+')[0]}, transformers {transformers.__version__}, CPU, float32.\n",
        "| architecture | class in transformers | reads | projector | step in full, read back | LoRA step, read back "
        "| packs |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as place:
            lines.append(try_kind(kind, Path(place)))
        print(lines[-1])
    return "\n".join(lines) + "\n"


def try_kind(kind: str, place: Path) -> str:
    """One row: the architecture's tiny model trained, saved and read back in both ways."""
    folder = tiny_folder(kind, place / "base")
    model = load_model(settings_for(folder), trains=False)
    projector = ", ".join(f"`{name}`" for name in find_parts(model).projector) or "–"
    kinds = read_preprocessor(folder, media=MediaSettings()).kinds
    reads = ", ".join(["text", *(_READS[kind] for kind in kinds)])
    full, lora = (try_tuning(kind, folder, place / tuning, tuning) for tuning in ("full", "lora"))
    return (
        f"| `{kind}` | {type(model).__name__} | {reads} | {projector} | {full} | {lora} | {try_packing(kind, folder)} |"
    )


def try_packing(kind: str, folder: Path) -> str:
    """How the architecture packs rows with all its kinds of media, or why it does not."""
    rows = Given(kind, folder)
    packed, padded = (rows.collator(packed=packed) for packed in (True, False))
    found = prove_packing(rows.model().float(), build_trial(rows.examples, rows.media_of, packed=packed, padded=padded))
    if isinstance(found, PackingUnproven):
        return f"no: {found.reason}"
    return "sample by sample" if found.splits else "by its positions"


def try_tuning(kind: str, folder: Path, run: Path, finetuning_type: str) -> Trial:
    """Train one step, save, read back, compare."""
    torch.manual_seed(0)
    tuning = {"finetuning_type": finetuning_type, "freeze_vision_tower": False, "freeze_multi_modal_projector": False}
    settings = settings_for(folder, tuning=tuning)
    batch = batch_for_kind(kind, folder)
    model = apply_tuning(load_model(settings, trains=True), settings).eval()
    before = train_a_step(model, batch, learning_rate=0.05)
    save_trained(model, run)
    load_preprocessor(settings.model, settings.media).save(run)
    loaded = load_folder(run, device="cpu")[0]
    # torch folds a product of three-dimensional tensors or not by whether the weight requires a gradient
    trained, again = (logits_of(one.requires_grad_(False), batch) for one in (model, loaded))
    return Trial(before, float(model(**batch, labels=batch["input_ids"]).loss), torch.equal(trained, again))


if __name__ == "__main__":
    main()
