"""The user–item family: a user id asks, user and item vectors answer."""
