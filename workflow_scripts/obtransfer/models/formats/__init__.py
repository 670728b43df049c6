"""One file for every publisher's format of weights."""
