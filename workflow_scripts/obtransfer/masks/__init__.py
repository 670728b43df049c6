"""Masks: which weights stay. Allocation over layers, exact selection, packing, the joint update.

Only `apply` imports torch.
"""
