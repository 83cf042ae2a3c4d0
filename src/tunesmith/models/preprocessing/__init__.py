"""A model's own tokenizer and processors, read and set up as the settings say."""
