"""Training: maths, learners, trainers, adaptation, and the loop around them."""
