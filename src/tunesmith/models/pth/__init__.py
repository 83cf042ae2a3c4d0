"""Checkpoints as XTuner writes them, `.pth` files and DeepSpeed folders of that name, read without running code."""
