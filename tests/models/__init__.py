"""Tests of tunesmith.models, on tiny random models of the real architectures."""
