"""InternLM2 and InternLM2.5: Llama under other names, with queries, keys and values in one weight."""
