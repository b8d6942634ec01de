"""Published image-quality databases: what a download holds and how to read it."""
