"""Tunesmith's tests; they mirror src/tunesmith."""
