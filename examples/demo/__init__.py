"""The demo: a tiny Qwen2.5-VL learns to see. `python -m examples.demo` from the repository's root."""

import os

# Read when torch loads, here and in every command started from here. Threads that wait for work then sleep; spinning,
# as they do by default, two of them on two busy cores run twenty times slower than one.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
