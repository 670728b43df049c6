"""`python -m snakemake_executor_plugin_submitit [folder]`: the efficiency table on demand, also while a run goes on."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

from .efficiency import summarise
from .ledger import read


def main(arguments: list[str]) -> int:
    """Print the table over everything in the journal."""
    folder = Path(arguments[0] if arguments else ".snakemake/submitit")
    cluster = SimpleNamespace(forgets=shutil.which("sacct") is not None, calls=Counter())
    text = summarise(read(folder / "journal.jsonl").values(), cluster, folder)
    print(text or f"No finished jobs in {folder}/journal.jsonl. Run this in the workflow's folder.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
