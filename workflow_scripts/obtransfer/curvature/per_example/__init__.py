"""Per-example gradients of every layer by hooks: the machinery that the estimators share."""
