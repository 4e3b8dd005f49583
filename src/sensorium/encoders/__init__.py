"""Raw content in, vectors out: encoders, their cards, and the features that they leave in a data set."""
