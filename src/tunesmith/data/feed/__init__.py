"""Which rows come when and together with which, made ahead by workers."""
