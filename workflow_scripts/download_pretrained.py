"""Fetch a pre-trained backbone, check it, convert it, and write it under the project's own names."""

from pathlib import Path
from typing import Any

from obtransfer.runtime.step import run_step


def download_pretrained(
    weights: Path, *, backbone: str, entry: dict[str, Any], fetching: dict[str, Any], made: dict[str, Any]
) -> None:
    """Write `weights`, a "backbone" artefact, from `entry` (source, address, checksum, pixels).

    How the file is fetched is no part of the artefact; which file it is, is.
    """
    from importlib import import_module

    from obtransfer.models.checkpoint import read_checkpoint
    from obtransfer.models.save import save_backbone
    from obtransfer.registry import resolve

    # By name, so that these are no part of the step's digest: how bytes come here changes none of them.
    fetch, record = (
        resolve("obtransfer.models.download:fetch"),
        resolve("obtransfer.models.weights_lock:record"),
    )
    how = resolve("obtransfer.models.download:fetching")(**fetching)
    source = import_module(entry["source"])
    addresses = getattr(source, "addresses", _as_written)(entry)
    download = weights.with_name(f"{backbone}.download")
    file = fetch(
        addresses,
        download,
        how,
        checksums={"": entry["sha256"] or "", **getattr(source, "CHECKSUMS", {})},
        digits_in_name=getattr(source, "DIGITS_IN_NAME", False),
    )
    try:
        architecture = entry["architecture"] or backbone.partition(".")[0]
        state = source.convert(read_checkpoint(download, f"{backbone} ({file.name})"), architecture)
        settings = {"entry": {**entry, "address": file.name}, "code": made["settings"]["code"]}
        save_backbone(
            weights,
            state,
            backbone=backbone,
            entry=entry,
            made={**made, "settings": settings},
            checkpoint={"name": file.name, "sha256": file.sha256},
        )
        if not entry["sha256"] and not addresses[file.name].startswith("file:"):
            record(how.lock, file.name, file.sha256, file.num_bytes)
    finally:
        download.unlink()  # a file that can't be read must not be met again


def _as_written(entry: dict[str, Any]) -> dict[str, str]:
    """The file's name in the lock file -> where it is: of most publishers both are the address itself."""
    return {entry["address"]: entry["address"]}


if "snakemake" in globals():
    run_step(download_pretrained, globals()["snakemake"], preload=("torch", "timm"))
