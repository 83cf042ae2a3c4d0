"""MiniCPM's text models (1B to 8B, MiniCPM4): Llama with scaled embeddings, residuals and logits."""
