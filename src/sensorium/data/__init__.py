"""Data sets as Parquet folders: readers, splits, what training may see, batches, and the demo catalogue."""
