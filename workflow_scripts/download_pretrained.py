"""Fetch a pre-trained backbone, check it, convert it, and write it under the project's own names."""

from pathlib import Path
from typing import Any

from obtransfer.step import run_step


def download_pretrained(weights: Path, *, backbone: str, entry: dict[str, Any], made: dict[str, Any]) -> None:
    """Write `weights`, a "backbone" artefact, from the registry's `entry` (address, sha256, convert, pixels)."""
    from obtransfer.models.download import fetch
    from obtransfer.models.save import save_backbone
    from obtransfer.resolve import resolve
    from safetensors.torch import load_file

    download = weights.with_name(f"{backbone}.download")
    fetch(entry["address"], entry["sha256"], download)
    state = resolve(entry["convert"])(load_file(download))
    save_backbone(weights, state, backbone=backbone, entry=entry, made=made)
    download.unlink()


if "snakemake" in globals():
    run_step(download_pretrained, globals()["snakemake"], preload=("torch", "timm"))
