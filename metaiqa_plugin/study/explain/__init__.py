"""Maps of what a score depends on: pure functions on torch tensors."""
