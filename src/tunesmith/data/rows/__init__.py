"""Datasets: what a name stands for, where its rows are, and each row as a conversation."""
