"""Rewards by a Python function of the user's, named by file or module, called the way TRL calls them.

    def brevity(completions, **columns):
        return [1.0 if len(text) < 100 else 0.0 for text in completions]

It gets by name what it asks for, and with `**` everything: prompts, completions, completion_ids, references (the rows'
own answers), and every column of the rows, each a list with an entry an answer. Prompts and completions are texts.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from tunesmith.errors import UsageError
from tunesmith.train.grpo.rewards.reward import DrawnAnswer

_GIVEN = ("prompts", "completions", "completion_ids", "references")


@dataclass(frozen=True, slots=True)
class FunctionReward:
    """`path/to/file.py:function` or `package.module:function`, which `spec` holds."""

    name: str
    spec: str
    function: Callable[..., Any]
    needs_reference: bool = False

    def score(self, answers: Sequence[DrawnAnswer]) -> list[float | None]:
        """What the function returns. Raises UsageError for what it raises, and for what is no list."""
        arguments = self._arguments(answers)
        try:
            scores = self.function(**arguments)
            if inspect.isawaitable(scores):
                scores = asyncio.run(_result(scores))
        except Exception as error:
            place = _innermost_line(error)
            raise UsageError(
                f"reward_funcs: {self.spec} failed on {len(answers)} answers, the first to "
                f"{answers[0].conversation.source} ({answers[0].text[:60]!r}): {type(error).__name__}: {error}{place}. "
                "It is given prompts and completions as lists of texts"
            ) from error
        if not isinstance(scores, list | tuple):
            raise UsageError(
                f"reward_funcs: {self.spec} returned {type(scores).__name__}; expected a list with a number, or None, "
                "for each of its completions"
            )
        return list(scores)

    def _arguments(self, answers: Sequence[DrawnAnswer]) -> dict[str, Any]:
        """What of everything there is the function takes. Raises UsageError for what it wants and no row has."""
        given: dict[str, Any] = {column: [answer.row.get(column) for answer in answers] for column in _columns(answers)}
        given |= {
            "prompts": [answer.prompt for answer in answers],
            "completions": [answer.text for answer in answers],
            "completion_ids": [list(answer.ids) for answer in answers],
            "references": [answer.reference for answer in answers],
        }
        parameters = inspect.signature(self.function).parameters.values()
        absent = [item.name for item in parameters if _is_needed(item) and item.name not in given]
        if absent:
            raise UsageError(
                f"reward_funcs: {self.spec} asks for {', '.join(absent)}, which no row has; there are "
                f"{', '.join((*_GIVEN, *_columns(answers)))}"
            )
        if any(item.kind is item.VAR_KEYWORD for item in parameters):
            return given
        return {item.name: given[item.name] for item in parameters if item.name in given}


def load_function(spec: str) -> FunctionReward:
    """The function a spec names. Raises UsageError where there is none, or its file fails."""
    place, _, name = (part.strip() for part in spec.rpartition(":"))
    try:
        module = _load_file(Path(place).expanduser()) if place.endswith(".py") else importlib.import_module(place)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            f"reward_funcs: {place} cannot be imported: {type(error).__name__}: {error}{_innermost_line(error)}"
        ) from error
    function: Any = vars(module).get(name)
    if not callable(function):
        there = ", ".join(key for key, value in vars(module).items() if inspect.isfunction(value)) or "none"
        raise UsageError(f"reward_funcs: {place} has no function {name}; it has {there}")
    return FunctionReward(name, spec, function)


def _load_file(file: Path) -> ModuleType:
    if not file.is_file():
        raise UsageError(f"reward_funcs: there is no file {file}; paths are relative to the folder of the command")
    found = importlib.util.spec_from_file_location(f"tunesmith_reward_{file.stem}", file.absolute())
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


async def _result(awaited: Any) -> Any:
    return await awaited


def _columns(answers: Sequence[DrawnAnswer]) -> tuple[str, ...]:
    """Every column of any row, in the order in which they come."""
    return tuple(dict.fromkeys(column for answer in answers for column in answer.row))


def _is_needed(parameter: inspect.Parameter) -> bool:
    by_name = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    return by_name and parameter.default is parameter.empty


def _innermost_line(error: BaseException) -> str:
    """Where in the user's file it happened: ` (rewards.py, line 7)`."""
    places = list(_frames(error))
    return f" ({places[-1]})" if places else ""


def _frames(error: BaseException) -> Iterator[str]:
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file != __file__ and not file.startswith("<"):
            yield f"{Path(file).name}, line {trace.tb_lineno}"
        trace = trace.tb_next
