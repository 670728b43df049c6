"""The journal of submissions: what was sent to the cluster, written before and after each sbatch.

An append-only file of JSON lines. A line names its submission by a token that SLURM also gets (as the job's comment), so
that a controller killed between sbatch and the next line finds its jobs again. A torn last line is ignored.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO


class LockedError(RuntimeError):
    """Another controller writes this journal."""


@dataclass
class Record:
    """One job's last submission. `ended` is SLURM's last word as the controller saw it, empty while it has not."""

    key: str
    token: str
    index: int
    fingerprint: str
    rule: str
    log: str
    request: dict[str, Any] = field(default_factory=dict)
    attempt: int = 1
    job_id: str = ""
    ended: str = ""
    at: float = 0.0


class Ledger:
    """`records`: job key → its last submission. One controller at a time holds it; the lock dies with its process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records: dict[str, Record] = {}
        self._file: TextIO | None = None
        self._lock: TextIO | None = None

    def open(self, keep_days: int) -> None:
        """Take the lock, read the journal, forget what ended more than `keep_days` ago, and start appending.

        Raises:
            LockedError: naming the process that holds it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        path = self.folder / "journal.jsonl"
        oldest = time.time() - 86400 * keep_days
        self.records = {r.key: r for r in read(path).values() if not r.ended or r.at >= oldest}
        temporary = path.with_suffix(".new")
        with temporary.open("w") as file:
            for record in self.records.values():
                file.write(json.dumps({"record": asdict(record)}) + "\n")
        temporary.replace(path)
        self._file = path.open("a")

    def intend(self, records: list[Record]) -> None:
        """Before sbatch."""
        for record in records:
            record.at = time.time()
            self.records[record.key] = record
        self._write([{"record": asdict(record)} for record in records])

    def submitted(self, records: list[Record]) -> None:
        """After sbatch: `job_id` is set."""
        self._write([{"key": r.key, "token": r.token, "job_id": r.job_id} for r in records])

    def ended(self, record: Record, state: str) -> None:
        """When the controller has seen a job's end."""
        record.ended = state
        self._write([{"key": record.key, "token": record.token, "ended": state}])

    def close(self) -> None:
        """Release the journal and its lock."""
        for file in (self._file, self._lock):
            if file is not None:
                file.close()
        self._file = self._lock = None

    def _take_lock(self) -> None:
        lock = (self.folder / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "an unknown process"
            lock.close()
            raise LockedError(
                f"another run ({holder}) already sends this folder's jobs to the cluster: wait for it or stop it"
            ) from None
        except OSError:
            pass  # a file system without locks: Snakemake's own lock has to do
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        lock.flush()
        self._lock = lock

    def _write(self, lines: list[dict[str, Any]]) -> None:
        if self._file is None:
            return
        self._file.write("".join(json.dumps(line) + "\n" for line in lines))
        self._file.flush()
        os.fsync(self._file.fileno())


def read(path: Path) -> dict[str, Record]:
    """The journal's last word on every job."""
    records: dict[str, Record] = {}
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        try:
            entry = json.loads(line)
            if "record" in entry:
                record = Record(**entry["record"])
                records[record.key] = record
                continue
            known = records.get(entry["key"])
            if known is not None and known.token == entry["token"]:
                known.job_id = entry.get("job_id", known.job_id)
                known.ended = entry.get("ended", known.ended)
        except (ValueError, TypeError, KeyError):
            continue
    return records
