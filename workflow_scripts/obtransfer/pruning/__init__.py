"""Pruning in several rounds, and the choice of a damping for a source."""
