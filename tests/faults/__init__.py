"""Runs that are hurt on purpose, and what became of them: `python -m tests.faults` (docs/faults.md)."""
