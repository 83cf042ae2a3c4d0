"""Whole journeys of a user: real data where it lies beside the repository, public commands, tiny random models."""
