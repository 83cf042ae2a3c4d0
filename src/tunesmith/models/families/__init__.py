"""Model families that transformers has no class for: their published folders load as they are, by code of ours."""
