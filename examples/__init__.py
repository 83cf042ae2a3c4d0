"""YAML files to copy, and the demo."""
