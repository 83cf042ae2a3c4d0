"""Rows at random in files of every kind, found and read by their address."""
