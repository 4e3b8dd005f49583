"""Reading and writing media files under limits: one file for each kind, one error type for all."""
