"""Blocks that several models share: sparse products, graph propagation, losses, tokens, standardised features."""
