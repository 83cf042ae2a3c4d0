"""Checkpoints: written whole or not at all, also while training goes on, by any engine; read by any other; proven."""
