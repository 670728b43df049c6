"""How a step runs: from Snakemake's job to a typed function, its log, its errors and its times."""
