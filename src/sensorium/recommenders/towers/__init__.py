"""Item towers: from tokens int64 [n] to vectors float32 [n, d]; the vector of token 0, no item, is zero."""
