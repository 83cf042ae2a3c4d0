"""Encoded examples and their media as the tensors of one micro-batch."""
