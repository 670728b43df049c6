"""Backbones: building, loading, naming the prunable weights, downloading."""
