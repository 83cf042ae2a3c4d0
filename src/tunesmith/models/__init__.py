"""Models and what reads for them: find, load, take apart, tune and save, by transformers' and PEFT's own classes."""

import logging

# bitsandbytes tells of kernels it goes on without (on import, with PEFT) and of casts at every call of an 8-bit layer.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
