"""UKT: knowledge states as Gaussians, whose spread is identified by predicting several answers together."""
