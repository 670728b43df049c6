"""`python -m snakemake_executor_plugin_submitit [folder]`: the efficiency table, also while a workflow runs."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from .follow.efficiency import summarise
from .journal import journal_path, read


def main(arguments: list[str]) -> int:
    """Print the table of everything in the journal."""
    folder = Path(arguments[0] if arguments else ".snakemake/submitit")
    path = journal_path(folder)
    text = summarise(read(path).values(), folder, accounting=shutil.which("sacct") is not None)
    print(text or f"{path} has no finished jobs. Run this in the workflow's folder.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
