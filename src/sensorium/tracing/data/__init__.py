"""The data of knowledge tracing: tables on disk, import, splits by student, windows and batches."""
