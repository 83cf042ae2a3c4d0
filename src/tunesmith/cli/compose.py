"""`tunesmith compose`: one model out of several. The joining itself is `tunesmith.compose`'s."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

from tunesmith import log
from tunesmith.cli.imports import importing
from tunesmith.compose.request import DEFAULT_SEED, Request
from tunesmith.config.given import Given
from tunesmith.config.overrides import parse_overrides
from tunesmith.errors import UsageError

HELP = """tunesmith compose llava --language_model A --vision_tower B --output C

Gives a text model eyes: joins a causal language model and a CLIP or SigLIP vision tower by a fresh two-layer projector
into a folder of transformers' LLaVA class, with processor, image token and chat template. The projector knows nothing
yet: train it alone on captions first, then the rest.

  --language-model A            a folder or a name on the hub, such as Qwen/Qwen3-1.7B
  --vision-tower B              the same, such as openai/clip-vit-large-patch14-336
  --output C                    where to write; nothing is there until it is complete
  --seed 42                     of the projector's random weights
  --overwrite-output-dir        replace a model that stands in C

Underscores and key=value do as well: language_model=A.
"""

_KINDS = ("llava",)
_NEEDED = ("language_model", "vision_tower", "output")
_OPTIONS = (*_NEEDED, "seed", "overwrite_output_dir")
_FLAGS = {"true": True, "false": False}


def run(argv: Sequence[str]) -> int:
    """Join two models, and say what was written."""
    if not argv or {"--help", "-h"} & set(argv):
        print(HELP, end="")
        return 0
    request = _read_request(argv)
    log.set_up()
    with importing():
        from tunesmith.compose.run import compose_llava

    print(compose_llava(request).describe())
    return 0


def _read_request(argv: Sequence[str]) -> Request:
    """What the words ask for. Raises UsageError for a kind or an option there is not, and for one that is absent."""
    if argv[0] not in _KINDS:
        raise UsageError(f"tunesmith compose {argv[0]}: say first what to make: tunesmith compose llava …")
    given = {option.key: option for option in parse_overrides(argv[1:])}
    _refuse_unknown(given)
    absent = [f"--{key}" for key in _NEEDED if key not in given]
    if absent:
        raise UsageError(f"command line: {', '.join(absent)} missing; see `tunesmith compose --help`")
    language_model, vision_tower, output = (_read_name(given[key]) for key in _NEEDED)
    return Request(
        language_model=language_model,
        vision_tower=vision_tower,
        output=Path(output),
        seed=_read_seed(given["seed"]) if "seed" in given else DEFAULT_SEED,
        overwrite_output_dir="overwrite_output_dir" in given and _read_flag(given["overwrite_output_dir"]),
    )


def _refuse_unknown(given: Mapping[str, Given]) -> None:
    for key in given:
        if key not in _OPTIONS:
            near = difflib.get_close_matches(key, _OPTIONS, n=1)
            advice = f"did you mean --{near[0]}?" if near else f"the options are {', '.join(_OPTIONS)}"
            raise UsageError(f"command line: unknown option {key}; {advice}")


def _read_name(option: Given) -> str:
    if not option.text or option.value is True:
        raise UsageError(f"command line: --{option.key} takes one folder or name")
    return option.text


def _read_seed(option: Given) -> int:
    if option.text is None or not option.text.isdecimal():
        raise UsageError(f"command line: --seed {option.value}; expected a whole number")
    return int(option.text)


def _read_flag(option: Given) -> bool:
    word = str(option.text).lower()
    if word not in _FLAGS:
        raise UsageError(f"command line: --{option.key} {option.value}; expected true or false")
    return _FLAGS[word]
