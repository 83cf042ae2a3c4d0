"""Runs as their folders show them: found, listed, followed, stopped, compared; and started apart from the terminal.

There is no daemon and no database: what is not in a run folder is not known. Never loads torch.
"""
