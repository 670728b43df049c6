"""Fetch a pre-trained backbone, check it, convert it, and write it under the project's own names."""

from pathlib import Path
from typing import Any

from obtransfer.models.known import PublishedWeights
from obtransfer.runtime.step import run_step
from obtransfer.settings import FetchSettings


def download_pretrained(
    weights: Path, *, backbone: str, entry: PublishedWeights, fetching: FetchSettings, made: dict[str, Any]
) -> None:
    """Write `weights`, a "backbone" artefact, from `entry`.

    Which file it is belongs to the artefact; how it is fetched does not.
    """
    from importlib import import_module

    from obtransfer.models.checkpoint import read_checkpoint
    from obtransfer.models.save import save_backbone
    from obtransfer.registry import FORMATS

    # By name, so that these are not part of the step's digest: how bytes come here changes none of them.
    download, lock = map(import_module, ("obtransfer.models.download", "obtransfer.models.weights_lock"))
    locks = lock.lock_files(fetching.lock, weights.parent)
    how = download.Fetching(fetching.mirror or "", fetching.offline, locks)
    publisher = FORMATS[entry.format]
    files = publisher.files(entry.address)
    copy = weights.with_name(f"{backbone}.download")
    file = download.fetch(
        files,
        copy,
        how,
        checksums={"": entry.sha256 or "", **publisher.checksums},
        digits_in_name=publisher.digits_in_name,
    )
    try:
        what = f"{backbone} ({file.name})"
        taken = publisher.take(read_checkpoint(copy, what), entry, what)
        state = publisher.convert(taken.checkpoint, entry.architecture)
        settings = {
            "entry": {**made["settings"]["entry"], "address": file.name},
            "code": made["settings"]["code"],
        }
        save_backbone(
            weights,
            state,
            name=backbone,
            weights=entry,
            made={**made, "settings": settings},
            checkpoint={"name": file.name, "sha256": file.sha256, **taken.how},
        )
        if not entry.sha256 and files[file.name].startswith("http"):
            lock.record(locks[-1], file.name, file.sha256, file.num_bytes)
    finally:
        copy.unlink()  # the next run must not meet a file that can't be read


if "snakemake" in globals():
    run_step(download_pretrained, globals()["snakemake"], preload=("torch", "timm"))
