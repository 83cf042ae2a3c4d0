"""`tunesmith convert`: what XTuner wrote, as folders that load here. The conversions are `tunesmith.convert`'s."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tunesmith import log
from tunesmith.cli import export
from tunesmith.cli.imports import importing
from tunesmith.convert.request import BaseModels, MergeRequest, PthRequest
from tunesmith.errors import UsageError

HELP = """tunesmith convert pth_to_hf [CONFIG] PTH SAVE_DIR
tunesmith convert xtuner_llava DIR --language-model A --vision-tower B --output C
tunesmith convert merge LLM ADAPTER SAVE_DIR [--is-clip]
tunesmith convert FOLDER export_dir=DIR [key=value]...    the same as tunesmith export

pth_to_hf    a checkpoint of XTuner's (iter_500.pth, a file or a DeepSpeed folder) becomes an adapter in PEFT's layout,
             a model folder, or for LLaVA one folder of transformers' LLaVA class. CONFIG (XTuner's .py file) is read,
             never run; without it the config that the checkpoint itself holds is used.
  --language-model A    the model the training started from, where no config says it
  --vision-tower B      the same for LLaVA
  --lora-alpha N        the adapter's alpha, where no config says it
  --save-format F       huggingface (default), or xtuner: a LLaVA in parts, as XTuner writes it
  --fp32                a language model trained in full: float32 instead of the format of A
  --max-shard-size 2GB  largest weight file

xtuner_llava a folder that XTuner converted (projector/, llm_adapter/, visual_encoder_adapter/) becomes one folder of
             transformers' LLaVA class with everything merged.

merge        what `tunesmith export` does, in XTuner's words; with --is-clip for the adapter of a CLIP tower.
  --device cpu          auto or cuda: compare on the GPU
  --max-shard-size 2GB  largest weight file

Underscores and key=value do as well: language_model=A. XTuner's other commands, and what to type here: docs/xtuner.md.
"""

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(GB|MB)", re.IGNORECASE)
_FLAGS = ("fp32", "is_clip", "safe_serialization")
_WRITERS = {
    "pth_to_hf": ("language_model", "vision_tower", "lora_alpha", "save_format", "fp32", "max_shard_size"),
    "xtuner_llava": ("language_model", "vision_tower", "output"),
    "merge": ("max_shard_size", "device", "is_clip"),
}
_TAKEN = ("safe_serialization",)
"""Options of XTuner's that ask for what is done anyway."""


@dataclass(frozen=True, slots=True)
class _Words:
    """A command line after the kind: words in order, and options by name."""

    words: tuple[str, ...]
    options: dict[str, str] = field(default_factory=dict)


def run(argv: Sequence[str]) -> int:
    """Convert, and say what was written."""
    if not argv or {"--help", "-h", "help"} & set(argv):
        print(HELP, end="")
        return 0
    kind, *rest = argv
    if kind == "split":
        raise UsageError(
            "tunesmith convert split is not needed: `tunesmith export --model_name_or_path SRC --export_dir DST "
            "--export_size 1` writes files of at most 1 GB"
        )
    if kind not in _WRITERS and Path(kind).exists():
        return export.run(argv)
    if kind not in _WRITERS:
        raise UsageError(f"tunesmith convert {kind}: the conversions are {', '.join(_WRITERS)}")
    given = _sort(kind, rest)
    print({"pth_to_hf": _pth_to_hf, "xtuner_llava": _xtuner_llava, "merge": _merge}[kind](given))
    return 0


def _pth_to_hf(given: _Words) -> str:
    request = _pth_request(given)
    log.set_up()
    with importing():
        from tunesmith.convert.pth import convert_pth

    return convert_pth(request)


def _pth_request(given: _Words) -> PthRequest:
    if len(given.words) not in (2, 3):
        raise UsageError("command line: write tunesmith convert pth_to_hf [CONFIG] PTH SAVE_DIR")
    *config, checkpoint, output = (Path(word).expanduser() for word in given.words)
    options = given.options
    if config and not config[0].is_file():
        raise UsageError(
            f"there is no config file {config[0]}; leave it out (the checkpoint holds its config), or give the .py "
            "file that the training used"
        )
    return PthRequest(
        checkpoint=checkpoint,
        output=output.absolute(),
        config=config[0] if config else None,
        language_model=options.get("language_model"),
        vision_tower=options.get("vision_tower"),
        lora_alpha=_number(options, "lora_alpha"),
        shard_gb=_size_gb(options),
        in_float32="fp32" in options,
        keeps_parts=_choice(options, "save_format", ("huggingface", "xtuner")) == "xtuner",
    )


def _xtuner_llava(given: _Words) -> str:
    absent = [f"--{name}" for name in _WRITERS["xtuner_llava"] if name not in given.options]
    if len(given.words) != 1 or absent:
        raise UsageError(
            f"command line: {', '.join(absent) or 'one folder'} missing; write tunesmith convert xtuner_llava DIR "
            "--language_model A --vision_tower B --output C"
        )
    bases = BaseModels(given.options["language_model"], given.options["vision_tower"])
    folder, output = Path(given.words[0]).expanduser(), Path(given.options["output"]).expanduser().absolute()
    log.set_up()
    with importing():
        from tunesmith.convert.llava import convert_llava_folder

    return convert_llava_folder(folder, bases, output)


def _merge(given: _Words) -> str:
    request = _merge_request(given)
    log.set_up()
    with importing():
        from tunesmith.convert.merge import merge

    return merge(request)


def _merge_request(given: _Words) -> MergeRequest:
    if len(given.words) != 3:
        raise UsageError("command line: write tunesmith convert merge LLM ADAPTER SAVE_DIR")
    model, adapter, output = given.words
    return MergeRequest(
        model,
        adapter,
        Path(output).expanduser().absolute(),
        shard_gb=_size_gb(given.options),
        on_cpu=_choice(given.options, "device", ("cpu", "cuda", "auto")) == "cpu",
        is_clip="is_clip" in given.options,
    )


def _sort(kind: str, argv: Sequence[str]) -> _Words:
    """Words and options. Raises UsageError for an option that the conversion has not, or one without its value."""
    rest, words, options = list(argv), [], {}
    while rest:
        word = rest.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        name = name.replace("-", "_")
        if not word.startswith("--") and not (equals and name in _WRITERS[kind]):
            words.append(word)
            continue
        if name not in (*_WRITERS[kind], *_TAKEN):
            raise _unknown_option(kind, word)
        if not equals and name not in _FLAGS:
            if not rest:
                raise UsageError(f"command line: {word} needs a value")
            value = rest.pop(0)
        options[name] = value
    return _Words(tuple(words), options)


def _unknown_option(kind: str, word: str) -> UsageError:
    names = [f"--{name}" for name in _WRITERS[kind]]
    near = difflib.get_close_matches(word.replace("-", "_").replace("__", "--", 1), names, n=1)
    advice = f"did you mean {near[0]}?" if near else f"the options are {', '.join(names)}"
    return UsageError(f"command line: tunesmith convert {kind} has no option {word}; {advice}")


def _choice(options: dict[str, str], name: str, allowed: tuple[str, ...]) -> str:
    value = options.get(name, allowed[0])
    if value not in allowed:
        raise UsageError(f"command line: --{name} {value}; expected {' or '.join(allowed)}")
    return value


def _number(options: dict[str, str], name: str) -> float | None:
    if name not in options:
        return None
    try:
        value = float(options[name])
    except ValueError:
        raise UsageError(f"command line: --{name} {options[name]}; expected a number") from None
    return int(value) if value.is_integer() else value


def _size_gb(options: dict[str, str]) -> float:
    text = options.get("max_shard_size", "2GB")
    match = _SIZE.fullmatch(text)
    if match is None:
        raise UsageError(f"command line: --max-shard-size {text}; expected a size such as 2GB or 500MB")
    return float(match[1]) / (1 if match[2].upper() == "GB" else 1000)
