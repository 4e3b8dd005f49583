"""Encoders of sequences: from item vectors [B, L, d] and a mask bool [B, L] to states [B, L, d].

State j knows the items up to place j. Places under a false mask are padding on the left: whatever stands there changes
no other state, and their own states are zero.
"""
