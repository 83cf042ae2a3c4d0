"""What an answer is worth. A new reward is one file beside these and one row in `table`."""
