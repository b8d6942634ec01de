"""The web page of ``metaiqa ui``: photos in, scores, maps and a metric of one's own."""
