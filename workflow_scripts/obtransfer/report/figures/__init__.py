"""The figures of a run, one file each: see "a figure" in docs/extending.md."""
