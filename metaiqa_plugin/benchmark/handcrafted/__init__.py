"""Hand-crafted baselines: features of an image and support vector regression."""
