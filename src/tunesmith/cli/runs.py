"""`tunesmith runs`: list, follow, stop and compare runs, by what stands in their folders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tunesmith import log
from tunesmith.cli.arguments import Arguments, split_arguments
from tunesmith.errors import RunError, UsageError

HELP = """tunesmith runs [list] [FOLDER]... [--json]
tunesmith runs tail RUN [-f] [--lines N]
tunesmith runs stop RUN... [--now]
tunesmith runs compare RUN RUN... [--json] [--plot FILE.png]

Runs as their folders show them; nothing else is asked, and none of them is needed for a run to go on.

list     runs below this folder, or those named: state, step, losses, speed, age, time to go
tail     what a run last said or measured; -f goes on until it ends
stop     let it finish its step and save, wait for that, and say how it goes on; --now kills it
compare  the settings that differ, and what came of them; --plot draws the losses

States: starting, running, restarting; finished, stopped (saved), interrupted (not saved), failed; killed (its process
is gone and wrote no end), lost (on another host, without a sign for minutes), unknown.

  tunesmith train run.yaml --detach
  tunesmith runs tail saves/run -f
"""
_HELP_WORDS = {"--help", "-h", "help"}
_SHORT = {"-f": "--follow", "-n": "--lines"}


def run(argv: Sequence[str]) -> int:
    """Run the word after `tunesmith runs`; without one, list."""
    if _HELP_WORDS & set(argv):
        print(HELP, end="")
        return 0
    log.set_up()
    words = list(argv)
    word = words.pop(0) if words and not words[0].startswith("-") else "list"
    if word not in _WORDS:
        advice = f"; did you mean `tunesmith runs list {word}`?" if Path(word).exists() else ""
        raise UsageError(f"unknown word {word!r} after `tunesmith runs`; write list, tail, stop or compare{advice}")
    return _WORDS[word]([_SHORT.get(given, given) for given in words])


def _list(words: Sequence[str]) -> int:
    from tunesmith.runs.find import find_runs
    from tunesmith.runs.overview import look_at
    from tunesmith.runs.table import render_table

    arguments = split_arguments(words, switches=("json",))
    found = find_runs(_places(arguments, usage="list [FOLDER]...") or [Path()])
    runs = [look_at(folder) for folder in found.runs]
    if "json" in arguments.switches:
        print(json.dumps([overview.to_json() for overview in runs], ensure_ascii=False, indent=1))
    elif runs:
        print(render_table(runs), end="")
    else:
        log.info("no runs here; `tunesmith runs list FOLDER` looks elsewhere")
    for gap in found.gaps():
        log.warning(gap)
    return 0


def _tail(words: Sequence[str]) -> int:
    from tunesmith.runs.find import require_run
    from tunesmith.runs.tail import describe_now, follow, last_lines
    from tunesmith.train.folder.run_folder import RunFolder

    arguments = split_arguments(words, switches=("follow",), options=("lines",))
    places = _places(arguments, usage="tail RUN [-f] [--lines N]")
    if len(places) != 1:
        raise UsageError("command line: write one run, `tunesmith runs tail RUN`")
    folder, count = RunFolder(require_run(places[0])), _read_count(arguments)
    lines = follow(folder, count=count) if "follow" in arguments.switches else last_lines(folder, count=count)
    for line in lines:
        print(line, flush=True)
    log.info(describe_now(folder))
    return 0


def _stop(words: Sequence[str]) -> int:
    from tunesmith.runs.find import require_run
    from tunesmith.runs.stop import ask_to_stop, describe_end, kill

    arguments = split_arguments(words, switches=("now",))
    places = [require_run(place) for place in _places(arguments, usage="stop RUN... [--now]")]
    if not places:
        raise UsageError("command line: which run? `tunesmith runs` lists them; write `tunesmith runs stop RUN`")
    end = kill if "now" in arguments.switches else ask_to_stop
    problems: list[str] = []
    stopping = []
    for place in places:
        try:
            stopping.append(end(place))
        except RunError as error:
            problems.append(str(error))
    for run_ending in stopping:
        if run_ending.processes and end is ask_to_stop:
            log.info(f"{run_ending.folder.path}: finishing its step and saving")
        run_ending.wait()
        print(describe_end(run_ending), flush=True)
    if problems:
        raise RunError("\n".join(problems))
    return 0


def _compare(words: Sequence[str]) -> int:
    from tunesmith.runs.compare import compare, render_comparison
    from tunesmith.runs.find import require_run

    arguments = split_arguments(words, switches=("json",), options=("plot",))
    places = [require_run(place) for place in _places(arguments, usage="compare RUN RUN... [--plot FILE]")]
    if len(places) < 2:
        raise UsageError("command line: comparing needs two runs or more, `tunesmith runs compare RUN RUN`")
    comparison = compare(places)
    if "json" in arguments.switches:
        print(json.dumps(comparison.to_json(), ensure_ascii=False, indent=1))
    else:
        print(render_comparison(comparison), end="")
    if plot := arguments.option("plot"):
        from tunesmith.runs.compare_plot import write_comparison_plot

        write_comparison_plot(Path(plot), comparison.runs)
        log.info(f"losses drawn in {plot}")
    return 0


def _places(arguments: Arguments, *, usage: str) -> list[Path]:
    """The folders named. Raises UsageError for an option that the word does not have."""
    unknown = [word for word in arguments.overrides if word.startswith("-")]
    if unknown:
        raise UsageError(f"command line: {unknown[0]} is not understood; write `tunesmith runs {usage}`")
    target = [] if arguments.target is None else [arguments.target]
    return [*target, *(Path(word) for word in arguments.overrides)]


def _read_count(arguments: Arguments) -> int:
    given = arguments.option("lines", "20")
    if given is None or not given.isdecimal():
        raise UsageError(f"command line: --lines {given}; expected a whole number")
    return int(given)


_WORDS = {"list": _list, "tail": _tail, "stop": _stop, "compare": _compare}
