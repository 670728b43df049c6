"""Statistics that are not curvature, beside the criteria that read them."""
