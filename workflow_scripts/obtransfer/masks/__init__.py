"""Masks: which weights stay. Selection, allocation over layers, packing, statistics.

Only `apply` imports torch.
"""
