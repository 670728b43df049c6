"""The same groups again after a restart.

With `--group-components` Snakemake packs a group's parts in the order of their memory addresses, so every run packs them
differently: after a restart no group would be one that was sent before. Here parts that were sent together stay together, and
the others are packed in the order of their outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .ledger import read

Chunks = Callable[[int, Iterable[Any]], Iterable[tuple[Any, ...]]]


def keep_groups(folder: Path) -> None:
    """From now on, in this process, Snakemake packs groups by the journal in `folder`."""
    import snakemake.api  # brings snakemake.dag, which cannot be imported first

    original = getattr(snakemake.dag, "group_into_chunks", None)
    if original is None or getattr(
        original, "is_stable", False
    ):  # another Snakemake: groups may change, nothing worse
        return

    def stable(size: int, components: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
        return pack_again(size, components, sent_together(folder), original)

    stable.is_stable = True  # type: ignore[attr-defined]
    snakemake.dag.group_into_chunks = stable


def pack_again(
    size: int, components: Iterable[Any], sent: Mapping[str, str], chunks: Chunks
) -> Iterator[tuple[Any, ...]]:
    """Chunks of at most `size` components: first those that were sent together (`sent`: output → submission)."""
    together: dict[str, list[Any]] = {}
    for outputs, component in sorted(((_outputs(c), c) for c in components), key=lambda pair: pair[0]):
        together.setdefault(next((sent[path] for path in outputs if path in sent), ""), []).append(component)
    for _, same in sorted(together.items()):
        yield from chunks(size, same)


def sent_together(folder: Path) -> dict[str, str]:
    """Output → submission, for all that is not known to have failed."""
    records = [r for r in read(folder / "journal.jsonl").values() if r.ended in ("", "COMPLETED")]
    return {path: f"{record.token}-{record.index}" for record in records for path in record.parts}


def _outputs(component: Any) -> list[str]:
    return sorted(str(path) for job in component.jobs for path in job.output)
