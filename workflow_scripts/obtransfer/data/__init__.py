"""Data sets: one file each, all returning `TaskImages` with disjoint splits."""
