"""What a run that ends before its time must say: one message, and nothing that is not meant for its user."""

from __future__ import annotations

from tests.faults.kills import LONGEST_RUN_S
from tests.faults.teams import Around, Command, Team, starting
from tests.faults.verdict import Unexpected

FAILED = 1
INTERRUPTED = 130


def fail(command: Command, *, says: str, goes_on: bool = False, around: Around | None = None) -> Team:
    """Run it to the failure that it must end in. Raises Unexpected where it ends otherwise."""
    with starting(command, goes_on=goes_on, around=around) as team:
        statuses = team.wait(LONGEST_RUN_S)
    require_failure(team, statuses, says=says)
    return team


def require_failure(team: Team, statuses: tuple[int, ...], *, says: str) -> None:
    """All processes ended with status 1, and each with at most one message; the first of them says `says`.

    Raises Unexpected.
    """
    said = [process.said(20_000) for process in team.processes]
    messages = [[line for line in text.splitlines() if line.startswith("error: ")] for text in said]
    is_plain = all(len(lines) <= 1 for lines in messages) and not any("Traceback" in text for text in said)
    if set(statuses) != {FAILED} or not is_plain or not any(says in text for text in said):
        raise Unexpected(f"ended with {statuses}, where one message with {says!r} was expected:\n{team.said()}")
