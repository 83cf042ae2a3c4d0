"""Encoded rows on disk, found again by their content."""
