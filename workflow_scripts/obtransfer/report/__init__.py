"""What a run found, for people: aggregates, figures and the closing text, all from `results/summary.csv`."""
