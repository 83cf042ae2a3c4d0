"""The demo: a tiny Qwen2.5-VL learns to see. `python -m examples.demo` from the repository's root."""
