"""A model made of others: a language model and a vision tower joined into a LLaVA (arXiv 2304.08485)."""
