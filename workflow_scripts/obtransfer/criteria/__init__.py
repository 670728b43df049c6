"""Scores: how much the loss is expected to grow when a weight is removed. Higher = keep.

One file for each criterion; `base` defines what they share. Criteria know nothing of models, data or files,
and import no torch. docs/extending.md shows how to add one.
"""
