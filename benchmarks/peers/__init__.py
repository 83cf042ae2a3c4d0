"""The tools that Tunesmith is measured beside, each in a virtual environment of its own."""
