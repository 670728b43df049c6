"""Scores: how much the loss is expected to grow when a weight is removed. One file per criterion, no torch.

Every criterion has the signature ``f(weights, statistics, *, damping, damping_mode, seed) -> Scores`` and
knows nothing of models, data or files. Higher = keep.
"""
