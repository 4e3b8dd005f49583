"""What an uncertainty is worth: deferring, bands for the next answers, noisy and short histories, calibration."""
