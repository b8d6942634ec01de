"""Maps of what a score follows: pure functions on torch tensors."""
