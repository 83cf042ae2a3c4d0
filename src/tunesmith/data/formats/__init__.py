"""One row of each data format as a conversation."""
