"""One file per part of the matrix that can be kept."""
