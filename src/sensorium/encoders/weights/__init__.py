"""Packaged weights: found without importing a stranger's package, verified, converted once, read without pickle."""
