"""Pre-training of the small backbones that ship with the project: one file per method."""
