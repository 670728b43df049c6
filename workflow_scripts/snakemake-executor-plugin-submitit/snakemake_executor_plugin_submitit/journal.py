"""The journal of submissions: what was sent to the cluster, written before and after each sbatch.

The journal is an append-only file of JSON lines. A line names its submission by a token, which SLURM also receives as the
job's comment. So if the controller is killed between sbatch and the next line, the next run finds its jobs again.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from io import FileIO
from pathlib import Path
from typing import Any, TextIO


class LockedError(RuntimeError):
    """Another controller uses this journal."""


class JournalError(RuntimeError):
    """The journal can't be written, so nothing may be submitted."""


@dataclass
class Record:
    """One job's last submission.

    Attributes:
        key: names the job across runs.
        token, index: name its submission, and its position in it.
        fingerprint: hash of code, params, software and inputs.
        rule, log: name of the rule or group, and the step's log.
        request: what it requested (`Request.as_dict`).
        parts: output → hash of the step that makes it (a group has several steps).
        after: ids of the jobs that had to end first.
        job_id: SLURM's id, "" while sbatch has not answered.
        ended: SLURM's last word as the controller saw it, "" before the job has ended.
        at: time of the submission.
    """

    key: str
    token: str
    index: int
    fingerprint: str
    rule: str
    log: str
    request: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    after: list[str] = field(default_factory=list)
    job_id: str = ""
    ended: str = ""
    at: float = 0.0
    is_group: bool = False


_EXAMPLE = Record("", "", 0, "", "", "")


class Journal:
    """`records`: job key → its last submission. One controller at a time holds the lock, which ends with its process."""

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
            LockedError: with the process that holds it.
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
            JournalError: if it can't be written; then nothing may be submitted.
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
        """The controller has seen a job's end. Not forced to the disk, because SLURM can be asked again."""
        record.ended = state
        self._note([{"key": record.key, "token": record.token, "ended": state}], sync=False)

    def makers(self, outputs: Iterable[str]) -> list[Record]:
        """The last submissions that make any of these files, in whatever job."""
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
                f"one run at a time can use {self.folder}; another run ({holder}) holds its lock; wait for it or stop it"
            ) from None
        except OSError as error:
            self.tell(
                f"{self.folder} can't be locked ({error.strerror}): nothing keeps a second run out. Make sure that there is "
                "none, or keep Snakemake's own lock (no nolock in the profile)."
            )
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        lock.flush()
        self._lock = lock

    def _read_and_rewrite(self, keep_s: float) -> None:
        path = journal_path(self.folder)
        oldest = time.time() - keep_s
        for record in read(path, self.tell).values():
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
        # These lines can be found out again, by the token or from SLURM, so the run continues without them.
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
            self._torn = True  # a full disk may take half a line: the next write then starts a new one
            while left:
                left = left[self._file.write(left) :]
            self._torn = False
            if sync:
                os.fsync(self._file.fileno())

    def _advice(self, error: OSError) -> str:
        return (
            f"The journal in {self.folder} can't be written ({error}). Without it, a later run could not find its jobs: free "
            "some space or correct the permissions, and start again. Jobs on the cluster continue and will be adopted."
        )


def read(path: Path, tell: Callable[[str], None] = lambda _: None) -> dict[str, Record]:
    """The journal's last word on every job. Lines that are not the journal's are passed over and named to `tell`."""
    records: dict[str, Record] = {}
    bad = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines() if path.exists() else [], 1):
        try:
            _read_line(line, records)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            bad += [str(number)] if line else []
    if bad:
        lines = ", ".join(bad[:10]) + (", ..." if len(bad) > 10 else "")
        tell(f"{path}: line {lines} can't be read and is passed over; its jobs may be submitted again.")
    return records


def _read_line(line: str, records: dict[str, Record]) -> None:
    entry = json.loads(line)
    if "record" in entry:
        record = _checked(Record(**{n: v for n, v in entry["record"].items() if n in vars(_EXAMPLE)}))
        records[record.key] = record
        return
    known = records.get(entry["key"])
    if known is not None and known.token == entry["token"]:
        changes = {name: entry[name] for name in ("job_id", "ended") if name in entry}
        records[known.key] = _checked(replace(known, **changes))


def _checked(record: Record) -> Record:
    """The record, if each value has its field's type; raises TypeError."""
    for name, value in vars(record).items():
        wanted = type(getattr(_EXAMPLE, name))
        if not isinstance(value, (int, float) if wanted is float else wanted):
            raise TypeError(name)
    texts = [*record.parts.values(), *record.after]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("parts, after")
    return record


def journal_path(folder: Path) -> Path:
    """The journal in the plugin's folder."""
    return folder / "journal.jsonl"


def batch_folder(folder: Path, record: Record) -> Path:
    """Where the files of that submission are."""
    return folder / "batches" / record.token


def outcome_path(folder: Path, record: Record) -> Path:
    """Where that submission's job records its start and end."""
    return batch_folder(folder, record) / f"{record.index}.json"
