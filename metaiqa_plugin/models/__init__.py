"""How a network is trained: pure updates, and the trainers that call them."""
