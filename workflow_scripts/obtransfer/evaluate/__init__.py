"""Evaluation: features, accuracy with the frozen head and with a re-fitted one, BatchNorm recalibration."""
