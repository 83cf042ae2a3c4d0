"""`do_train: false`, `do_eval: true`: loss and accuracy of a model, or of adapters on it, without training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tunesmith import log
from tunesmith.config.settings import Settings
from tunesmith.data.feed.share import Share
from tunesmith.data.prepare import prepare_data
from tunesmith.errors import UsageError
from tunesmith.models.load import load_model
from tunesmith.models.precision import choose_precision
from tunesmith.models.preprocessing.processor import load_preprocessor
from tunesmith.models.tuning.apply import attach_adapters
from tunesmith.train.display.progress import describe_evaluation
from tunesmith.train.folder.atomic import explained, write_text
from tunesmith.train.folder.run_folder import RunFolder
from tunesmith.train.memory_advice import advice_for_one_sample
from tunesmith.train.objectives.table import build_objective
from tunesmith.train.parallel.parallel import Parallel
from tunesmith.train.parallel.together import on_first
from tunesmith.train.pipelines import build_held_out_pipeline, held_out_batches
from tunesmith.train.reference.prepare import prepare_evaluation
from tunesmith.train.result import TrainResult
from tunesmith.train.steps.evaluation import Evaluation, evaluate
from tunesmith.train.steps.forward import Forward
from tunesmith.train.steps.portions import Splitter, describe_halving

RESULTS = "eval_results.json"


def evaluate_only(settings: Settings, parallel: Parallel) -> TrainResult:
    """Evaluate on eval_dataset, or on the rows val_size holds out; eval_results.json goes into output_dir.

    Raises UsageError where neither training nor evaluation is asked for, or no row is held out.
    """
    training = settings.training
    if not training.do_eval:
        raise UsageError("do_train and do_eval are both false: there is nothing to do; set one to true")
    if training.output_dir is None:
        raise UsageError("output_dir is not set; give the folder that eval_results.json is written to")
    folder = Path(training.output_dir).expanduser()
    RunFolder(folder).refuse_unwritable()
    evaluation = _evaluate(settings, parallel)
    metrics = {f"eval_{name}": value for name, value in evaluation.numbers().items()}
    on_first(parallel, lambda: _write(metrics, folder))
    log.info(
        f"{describe_evaluation(metrics)} on {evaluation.num_terms:,} {evaluation.term}s; written to {folder / RESULTS}"
    )
    return TrainResult(folder, metrics, 0)


def _write(metrics: Mapping[str, float], folder: Path) -> None:
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / RESULTS, json.dumps(metrics, indent=1) + "\n")


def _evaluate(settings: Settings, parallel: Parallel) -> Evaluation:
    """Every process has the whole model, whatever the engine, and its share of the rows."""
    preprocessor = load_preprocessor(settings.model, settings.media)
    data = prepare_data(_only_held_out(settings), preprocessor)
    rows = data.train if settings.data.eval_dataset else data.held_out
    if rows is None:
        raise UsageError("do_eval: true, but no row is held out; set eval_dataset or val_size")
    model = attach_adapters(load_model(settings, trains=False), settings)
    forward = Forward(model, build_objective(settings), choose_precision(settings), model.device)
    compared = prepare_evaluation(forward, data, settings)
    forward = replace(forward, objective=build_objective(settings, compared.reference))
    share = Share(parallel.rank, parallel.num_processes)
    pipeline = build_held_out_pipeline(data, rows, settings, packing=compared.packing, device=model.device, share=share)
    splitter = Splitter(
        rank=parallel.rank,
        split=pipeline.split,
        may_split=settings.parallel.on_oom == "split",
        advice=advice_for_one_sample(settings, checkpoints=True),
    )
    evaluation = evaluate(forward, held_out_batches(pipeline, parallel=parallel), parallel, splitter)
    if evaluation.halvings:
        log.warning(describe_halving(evaluation.halvings[0]))
    return evaluation


def _only_held_out(settings: Settings) -> Settings:
    """With an eval_dataset nothing else needs to be read: it takes the place of the training data."""
    data = settings.data
    if not data.eval_dataset:
        return settings
    changes = {"dataset": data.eval_dataset, "eval_dataset": (), "val_size": 0.0, "streaming": False}
    changes |= {"mix_strategy": "concat", "interleave_probs": ()}
    return settings.model_copy(
        update={
            "data": data.model_copy(update=changes),
            "training": settings.training.model_copy(update={"disable_shuffling": True}),
        }
    )
