"""The ground floor: typed configs, errors, registry, run directories, seeds, progress and HTML pages.

Nothing in this room imports torch at module level, so that the command line answers at once.
"""
