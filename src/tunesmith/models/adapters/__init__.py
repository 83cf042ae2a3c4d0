"""Adapters: put on a model, aimed at its layers, kept in either of two layouts."""
