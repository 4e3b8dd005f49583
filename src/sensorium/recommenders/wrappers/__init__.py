"""Models that hold another model: they read a backbone through its protocol and know none by name."""
