"""What trains: which parameters, at which rate, and a table of it."""
