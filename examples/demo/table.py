"""What the demo prints at its end: accuracies stage by stage, and some answers in Chinese."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from examples.demo.questions import KINDS, ask_in_english
from examples.demo.score import Answered

Accuracies = Mapping[str, Mapping[str, Mapping[str, float]]]
"""language → stage → kind of question → share of right answers"""


def print_table(accuracies: Accuracies, *, num_pictures: int) -> None:
    """Held-out accuracy of every stage, by kind of question."""
    table = Table(title=f"\nRight answers on {num_pictures} pictures that no training saw", title_style="bold")
    table.add_column("asked in")
    table.add_column("model")
    for heading in (*KINDS, "all"):
        table.add_column(heading, justify="right", style="bold" if heading == "all" else None)
    for language, stages in accuracies.items():
        for index, (stage, shares) in enumerate(stages.items()):
            percents = [f"{100 * shares[kind]:.0f} %" for kind in (*KINDS, "all")]
            table.add_row(language.capitalize() if index == 0 else "", stage, *percents)
        table.add_section()
    _console().print(table)


def print_examples(answered: Sequence[Answered], *, num_pictures: int) -> None:
    """The sentences of the last `num_pictures` pictures, beside what was drawn."""
    table = Table(title="\nWhat the merged model says in Chinese", title_style="bold")
    for heading in ("held-out picture", "asked", "answered", ""):
        table.add_column(heading)
    for each in [each for each in answered if each.question.kind == "sentence"][:num_pictures]:
        *_, sentence = ask_in_english(each.scene)
        table.add_row(sentence.answer, each.question.text, each.given, "[green]✓[/]" if each.is_right else "[red]✗[/]")
    _console().print(table)


def _console() -> Console:
    """As wide as the tables need where the output is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=110)
