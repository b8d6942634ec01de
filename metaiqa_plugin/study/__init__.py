"""What a metric gets right and why: the maths and the picture of each study."""
