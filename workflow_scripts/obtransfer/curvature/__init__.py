"""Second derivatives of the loss at the dense weights: one file per estimator and per structure.

`compute` is the way in; `engine` holds the per-example machinery that all estimators share.
"""
