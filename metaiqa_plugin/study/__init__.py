"""What a metric gets right and why: each study its maths and its picture."""
