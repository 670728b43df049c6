"""One file per estimator of second derivatives."""
