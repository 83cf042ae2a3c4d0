"""The demo: a tiny Qwen2.5-VL learns to see. `python -m examples.demo` from the repository's root."""

from tunesmith import env

env.let_threads_sleep()  # before torch loads: two cores are often shared
