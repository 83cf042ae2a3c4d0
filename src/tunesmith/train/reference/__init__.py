"""What a model is compared with while it learns from preferences."""
