"""A publisher's format of weights: where its files are, and which of their tensors are the backbone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from obtransfer.models.entries import Taken
    from obtransfer.models.known import PublishedWeights

REPOSITORY = Path(__file__).resolve().parents[4]
"""Where the files that ship with the workflow are, whatever the working folder."""

_PATH = ("/", "./", "../", "file:")
_REMOTE = ("http://", "https://")


@dataclass(frozen=True)
class Format:
    """What the workflow must know of a format. The file that declares it ends with ``FORMAT = Format(...)``.

    Attributes:
        convert: what a file holds, and timm's name of the architecture, to the backbone's tensors: all of them, under timm's
            names, floating-point ones in float32. They are loaded strictly.
        locate: an address of the configuration that is neither a path nor a URL, to files that will do, the best first:
            their names in the lock file, and their paths or URLs. None: such an address is a path.
        checksums: a file's name to the first digits of its checksum, as `obtransfer.models.download.fetch` takes them.
        reads: which of `weights_entry`, `strip` and `key_map` apply; `convert` then gets the weights alone.
        digits_in_name: whether the first digits of the SHA-256 end a file's name, as torch.hub expects.
    """

    convert: Callable[[Mapping[str, Any], str], dict[str, Tensor]]
    locate: Callable[[str], dict[str, str]] | None = None
    checksums: Mapping[str, str] = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    digits_in_name: bool = False

    def take(self, checkpoint: Mapping[str, Any], weights: PublishedWeights, what: str) -> Taken:
        """What `convert` gets of a file.

        Args:
            checkpoint: as read from the file; not changed.
            weights: for the architecture, and for the keys that the format `reads`.
            what: where the file came from, for errors.
        """
        from obtransfer.models.entries import Taken, take

        if not self.reads:
            return Taken(checkpoint, {})
        return take(checkpoint, weights, what, rename="key_map" in self.reads)

    def path(self, address: str) -> str:
        """The path that an address is, with ``file:`` where it is written so; "" for other addresses."""
        is_path = address.startswith(_PATH) or (self.locate is None and not address.startswith(_REMOTE))
        return address if is_path else ""

    def files(self, address: str) -> dict[str, str]:
        """Files that will do, the best first: names in the lock file to paths or URLs.

        A path is named without its folder: where a file is changes no result.
        """
        if self.path(address):
            return {address.rpartition("/")[2].removeprefix("file:"): address}
        if self.locate is None or address.startswith(_REMOTE):
            return {address: address}
        return self.locate(address)
