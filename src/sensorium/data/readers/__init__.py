"""One file per public format: each translates to the one shape of a data set (`base.py`)."""
