"""Optimal Brain Transfer: which weights can a pre-trained vision model lose before anyone knows what it is for?"""

__version__ = "0.1.0"
