"""Settings files to start from, one for every journey and family, and XTuner's names for them."""
