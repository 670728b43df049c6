"""The journal of submissions: what was sent to the cluster, written before and after each sbatch.

An append-only file of JSON lines. A line names its submission by a token that SLURM also gets (as the job's comment), so
that a controller killed between sbatch and the next line finds its jobs again. A torn last line is ignored.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any, TextIO


class LockedError(RuntimeError):
    """Another controller writes this journal."""


class JournalError(RuntimeError):
    """The journal can't be written, so nothing may be sent."""


@dataclass
class Record:
    """One job's last submission. `ended` is SLURM's last word as the controller saw it, empty while it has not.

    `parts`: each output → hash of the step that makes it (several steps in a group); `after`: the jobs it was sent behind.
    """

    key: str
    token: str
    index: int
    fingerprint: str
    rule: str
    log: str
    request: dict[str, Any] = field(default_factory=dict)
    attempt: int = 1
    parts: dict[str, str] = field(default_factory=dict)
    after: list[str] = field(default_factory=list)
    job_id: str = ""
    ended: str = ""
    at: float = 0.0
    is_group: bool = False


class Ledger:
    """`records`: job key → its last submission. One controller at a time holds it; the lock dies with its process."""

    def __init__(self, folder: Path, tell: Callable[[str], None] = print) -> None:
        self.folder, self.tell = folder, tell
        self.records: dict[str, Record] = {}
        self._makers: dict[str, set[str]] = {}
        self._file: FileIO | None = None
        self._lock: TextIO | None = None
        self._torn = self._told = False
        self._guard = threading.Lock()

    def open(self, keep_days: int) -> None:
        """Take the lock, read the journal, forget what ended more than `keep_days` ago, and start appending.

        Raises:
            LockedError: naming the process that holds it.
            JournalError: if the folder can't be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            self._read_and_rewrite(86400.0 * keep_days)
        except OSError as error:
            raise JournalError(self._advice(error)) from error

    def intend(self, records: list[Record]) -> None:
        """Before sbatch.

        Raises:
            JournalError: if it can't be written down; then nothing may be sent.
        """
        for record in records:
            record.at = time.time()
        try:
            self._write([{"record": asdict(record)} for record in records])
        except OSError as error:
            raise JournalError(self._advice(error)) from error
        for record in records:
            self._remember(record)

    def submitted(self, records: list[Record]) -> None:
        """After sbatch: `job_id` is set."""
        self._note([{"key": r.key, "token": r.token, "job_id": r.job_id} for r in records])

    def ended(self, record: Record, state: str) -> None:
        """When the controller has seen a job's end; not forced to the disk, because SLURM can be asked again."""
        record.ended = state
        self._note([{"key": record.key, "token": record.token, "ended": state}], sync=False)

    def makers(self, outputs: Iterable[str]) -> list[Record]:
        """The last submissions that make any of these files, whatever job they belonged to."""
        keys = {key for path in outputs for key in self._makers.get(path, ())}
        return [self.records[key] for key in sorted(keys)]

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
        except OSError as error:
            self.tell(
                f"{self.folder} can't be locked ({error.strerror}): nothing keeps a second run out, so see to it that there "
                "is none, or leave Snakemake's own lock on (no nolock in the profile)."
            )
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        lock.flush()
        self._lock = lock

    def _read_and_rewrite(self, keep_s: float) -> None:
        path = self.folder / "journal.jsonl"
        oldest = time.time() - keep_s
        for record in read(path).values():
            if not record.ended or record.at >= oldest:
                self._remember(record)
        temporary = path.with_suffix(".new")
        with temporary.open("w") as file:
            for record in self.records.values():
                file.write(json.dumps({"record": asdict(record)}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        self._file = path.open("ab", buffering=0)

    def _remember(self, record: Record) -> None:
        self.records[record.key] = record
        for path in record.parts:
            self._makers.setdefault(path, set()).add(record.key)

    def _note(self, lines: list[dict[str, Any]], *, sync: bool = True) -> None:
        # What only says how it went on can be found out again (by the token, or from SLURM), so the run goes on.
        try:
            self._write(lines, sync=sync)
            self._told = False
        except OSError as error:
            if not self._told:
                self.tell(self._advice(error))
            self._told = True

    def _write(self, lines: list[dict[str, Any]], *, sync: bool = True) -> None:
        if self._file is None:
            return
        data = "".join(json.dumps(line) + "\n" for line in lines).encode()
        with self._guard:
            left = memoryview(b"\n" + data if self._torn else data)
            self._torn = True  # a full disk takes half a line: the next one then starts on its own
            while left:
                left = left[self._file.write(left) :]
            self._torn = False
            if sync:
                os.fsync(self._file.fileno())

    def _advice(self, error: OSError) -> str:
        return (
            f"The journal in {self.folder} can't be written ({error}). Without it a later run could not find its jobs: make "
            "room or mend the rights and start again. Jobs that are already on the cluster go on and will be adopted."
        )


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
