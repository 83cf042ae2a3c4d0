"""Peak memory of one training step on a 152k vocabulary: full logits against the chunked loss.

    python benchmarks/loss_memory.py            # prints the table of RESULTS.md, section "Loss memory"

Every cell is a process of its own that takes one step (forward, backward, AdamW) of a one-layer Qwen2 with 151,936
tokens and reports by how much the step raised the process's peak memory. The model is small so that what is left is
the loss. Rows have 512 tokens, all of them supervised.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import torch
from torch.nn import functional
from transformers import Qwen2Config, Qwen2ForCausalLM

from tunesmith.data.batches.collate import Batch
from tunesmith.models.precision import Precision
from tunesmith.train.objectives.sft import SupervisedObjective
from tunesmith.train.parallel.single import SingleProcess
from tunesmith.train.steps.forward import Forward
from tunesmith.train.steps.step import Stepper

VOCABULARY, ROW_TOKENS = 151_936, 512
BATCHES = (1, 2, 4, 8)
CHUNKS = (128, 512, 2048)
FLOAT32 = Precision(torch.float32, torch.float32, None, scaler=False)


def build_model() -> Qwen2ForCausalLM:
    """One layer, hidden size 128, head and embedding tied: 19M parameters, nearly all of them vocabulary."""
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    return Qwen2ForCausalLM(config).train()


def build_batch(num_rows: int) -> Batch:
    """Random rows, every token supervised."""
    ids = torch.randint(0, VOCABULARY, (num_rows, ROW_TOKENS), generator=torch.Generator().manual_seed(0))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return Batch(inputs, ids.clone(), num_rows * (ROW_TOKENS - 1), ())


def full_logits_step(model: Qwen2ForCausalLM, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    """What a plain loop does."""
    logits = model(**batch.inputs, use_cache=False).logits
    loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1), batch.labels[:, 1:].flatten())
    loss.backward()
    optimizer.step()


def chunked_step(model: Qwen2ForCausalLM, optimizer: torch.optim.Optimizer, batch: Batch, chunk_tokens: int) -> None:
    """Tunesmith's step."""
    scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer)
    forward = Forward(model, SupervisedObjective(chunk_tokens), FLOAT32, torch.device("cpu"))
    Stepper(forward, optimizer, scheduler, SingleProcess(), max_grad_norm=1.0).take([batch])


def measure(chunk_tokens: int, num_rows: int) -> float:
    """MiB that one step adds to this process's peak; chunk_tokens 0 means full logits."""
    model = build_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    batch = build_batch(num_rows)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if chunk_tokens:
        chunked_step(model, optimizer, batch, chunk_tokens)
    else:
        full_logits_step(model, optimizer, batch)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def measure_apart(chunk_tokens: int, num_rows: int) -> float:
    """`measure` in a fresh process, whose peak nothing has raised before."""
    command = [sys.executable, __file__, str(chunk_tokens), str(num_rows)]
    return float(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def main() -> None:
    """Print the table."""
    heads = " | ".join(f"{rows * ROW_TOKENS} tokens" for rows in BATCHES)
    print(f"| MiB added by one step | {heads} |")
    print("| --- |" + " ---: |" * len(BATCHES))
    for chunk_tokens in (0, *CHUNKS):
        name = f"chunks of {chunk_tokens}" if chunk_tokens else "full logits"
        cells = " | ".join(f"{measure_apart(chunk_tokens, rows):,.0f}" for rows in BATCHES)
        print(f"| {name} | {cells} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]))))
    else:
        main()
