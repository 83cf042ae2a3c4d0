"""Folders and files of models: where they lie, whether they are whole, what a training left."""
