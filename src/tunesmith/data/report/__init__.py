"""What became of every row, shown before, while and after a training."""
