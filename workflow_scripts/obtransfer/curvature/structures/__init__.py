"""One file per structure: the part of each layer's matrix that a statistic keeps."""
