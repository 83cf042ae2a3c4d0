"""The console script: finds the verb, runs it, and turns every failure into one message and an exit status.

0 done, 1 a failure, 2 a usage or config error, 130 interrupted. A verb's module is imported only when it is called.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from tunesmith import env
from tunesmith.errors import NotSupportedYetError, UsageError

VERBS = {
    "train": "fine-tune a model from one YAML file",
    "runs": "list, follow, stop and compare runs: tunesmith runs",
    "data": "see and check examples as the model will see them: tunesmith data check run.yaml",
    "chat": "talk to a model, an adapter or a run folder",
    "export": "merge an adapter into its base and write one folder",
    "compose": "give a text model eyes: tunesmith compose llava --language_model A --vision_tower B --output C",
    "convert": "XTuner's checkpoints and LLaVA folders to folders that load here",
    "recipes": "settings files to start from: tunesmith recipes list qwen",
    "env": "versions and devices, for a bug report",
    "version": "the version of Tunesmith",
}
LATER_VERBS = {
    "api": "talk to the model with `tunesmith chat`",
    "webchat": "talk to the model in the terminal with `tunesmith chat`",
    "webui": "write a YAML file and run `tunesmith train run.yaml`",
    "eval": "give held-out rows (val_size or eval_dataset) and read eval_loss while training",
}
XTUNER_VERBS = {"list-cfg": ("recipes", "list-cfg"), "copy-cfg": ("recipes", "copy-cfg")}
"""Verbs of XTuner, and the words that do the same here."""
_HELP_WORDS = {"help", "--help", "-h"}
_VERSION_WORDS = {"--version", "-V"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (sys.argv without one) and return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        status = _dispatch(words)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (`| head`) has what it wanted. Python would fail once more while it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the outermost boundary: a message, not a traceback
        from tunesmith.cli.failure import report_failure

        return report_failure(error)
    return status


def render_help() -> str:
    """The text of `tunesmith --help`."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:<{width}}  {summary}" for verb, summary in VERBS.items())
    return (
        "tunesmith VERB [run.yaml] [key=value | --key value]...\n\n"
        f"{verbs}\n\n"
        "`tunesmith VERB --help` says more. Settings are LLaMA-Factory's flat keys; those on the command line win.\n"
    )


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in _HELP_WORDS:
        sys.stdout.write(render_help())
        return 0
    words = [*XTUNER_VERBS.get(words[0], words[:1]), *words[1:]]
    verb, rest = ("version" if words[0] in _VERSION_WORDS else words[0]), words[1:]
    if verb not in VERBS:
        raise _unknown_verb(verb)
    env.let_threads_sleep()
    run = importlib.import_module(f"tunesmith.cli.{verb}").run
    status: int = run(rest)
    return status


def _unknown_verb(verb: str) -> UsageError:
    import difflib

    if verb in LATER_VERBS:
        return NotSupportedYetError(f"tunesmith {verb} is not supported yet; {LATER_VERBS[verb]}")
    if verb.endswith((".yaml", ".yml", ".json")):
        return UsageError(f"the verb is missing; did you mean `tunesmith train {verb}`?")
    near = difflib.get_close_matches(verb, VERBS, n=1)
    advice = f"did you mean {near[0]}?" if near else f"the verbs are {', '.join(VERBS)}"
    return UsageError(f"unknown verb {verb}; {advice}")
