"""A conversation as ids and labels, its media counted and not decoded."""
