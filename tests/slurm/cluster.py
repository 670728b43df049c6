"""A private SLURM on this machine: two nodes, and, if wanted, accounting.

    python tests/slurm/cluster.py up FOLDER [--no-accounting]     # prints what to export
    python tests/slurm/cluster.py down FOLDER                     # stops it and removes FOLDER

Everything is its own (munged, MariaDB, slurmdbd, slurmctld, two slurmd), lies in one folder and listens on free ports, so
several can run beside each other and beside a real one.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from cluster_files import NODES, free_ports, missing, search_path, write_configuration, write_shims
from cluster_processes import ClusterError, Daemons, job_processes, send, wait
from patience import allowance_s, wait_until

_PORTS = ("slurmctld", "slurmdbd", "mariadb", *NODES)
ENDS = {
    "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE", "NODE_FAIL",
}  # fmt: skip
HELD = {"REQUEUE_HOLD", "SPECIAL_EXIT"}
_DAEMONS = ("slurmctld", "slurmdbd", "mariadb", "munged")
_MARIADB = (
    "--skip-log-bin",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-flush-method=nosync",
    "--skip-innodb-doublewrite",
    "--innodb-buffer-pool-size=32M",
    "--innodb-log-file-size=16M",
    "--innodb-lock-wait-timeout=900",
    "--skip-name-resolve",
)


class Cluster:
    """One private SLURM in `folder`.

    Attributes:
        folder: where everything of it lies.
        accounting: whether it has slurmdbd.
        environment: os.environ with SLURM_CONF, and the shims first on the PATH.
        keep_jobs: set while jobs may outlive a test (the fixtures fail a test that leaves some behind).
    """

    def __init__(
        self, folder: Path, accounting: bool = True, settings: Mapping[str, str] | None = None
    ) -> None:
        """`settings`: further lines of slurm.conf, such as MinJobAge."""
        self.folder = Path(folder).absolute()
        self.accounting = accounting
        self.settings = dict(settings or {})
        self.keep_jobs = False
        if len(str(self.folder)) > 70 or set(str(self.folder)) & set(" ,#\"'%\\"):
            raise ClusterError(
                f"needed a folder name of at most 70 plain characters, got {str(self.folder)!r}"
            )
        self.environment = self._environment(f"{self.folder / 'bin'}:{search_path()}")
        self._daemons = Daemons(self.folder, self._environment(search_path()))

    def start(self) -> None:
        """Start all daemons and wait until both nodes are idle.

        Raises:
            ClusterError: with what is missing, or the end of the log of what failed; nothing is left running then.
        """
        if absent := missing(self.accounting):
            raise ClusterError(absent)
        if self.folder.exists() and any(self.folder.iterdir()):
            raise ClusterError(
                f"needed a new or empty folder, but {self.folder} has files: stop that cluster first"
            )
        try:
            self._write()
            self._start_munged()
            if self.accounting:
                self._start_accounting()
            self._start_slurm()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all daemons and whatever its jobs still run."""
        self._daemons.stop(NODES)
        wait(self._no_job_process_left, lambda: f"processes of jobs go on: {job_processes(self.folder)}")
        for name in _DAEMONS:
            self._daemons.stop([name])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def command(self, *words: str, check: bool = True) -> str:
        """The standard output of one of SLURM's commands, run past the shims."""
        environment = self._daemons.environment
        done = subprocess.run(
            words, env=environment, check=False, capture_output=True, text=True, timeout=allowance_s()
        )
        if check and done.returncode:
            raise ClusterError(
                f"{shlex.join(words)} failed with status {done.returncode}: {done.stderr.strip()}"
            )
        return done.stdout

    def kill_node(self, name: str, jobs: bool = False) -> None:
        """kill -9 a slurmd; with `jobs`, all processes of its jobs, too, as when a machine dies."""
        self._daemons.kill(name)
        wait(lambda: self._daemons.pid(name) is None, lambda: f"{name} goes on")
        if jobs:
            send(job_processes(self.folder, name), signal.SIGKILL)

    def start_node(self, name: str) -> None:
        """Start a slurmd again; comes back before the node is idle."""
        self._daemons.start(name, "slurmd", "-D", "-N", name, "-f", str(self.folder / "slurm.conf"))

    def configure(self, **settings: str) -> None:
        """Change lines of slurm.conf while it runs."""
        self.settings |= settings
        write_configuration(self.folder, self._ports(), self.accounting, self.settings)
        self.command("scontrol", "reconfigure")

    def control(self, name: str, text: str | None = "") -> None:
        """Switch a fault of the shims on, or off with None: fail_<command> (its message), slow_<command> (seconds)."""
        path = self.folder / "control" / name
        path.unlink(missing_ok=True)
        if text is not None:
            new = path.with_name(f".{name}")
            new.write_text(text)
            new.rename(path)

    def calls(self, name: str) -> list[str]:
        """The command lines of one command run through the shims so far."""
        log = self.folder / "calls.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [line for line in lines if line.partition(" ")[0] == name]

    def state(self, job: str) -> str:
        """SLURM's word for a job, the queue's before the accounting's; "" if neither knows it."""
        text = self.command("squeue", "-h", "-t", "all", "--array", "-j", job, "-o", "%T", check=False)
        if not text and self.accounting:
            text = self.command("sacct", "-nPX", "-j", job, "--format=State", check=False)
        return (text.split() or [""])[0]

    def wait_for_state(self, job: str, state: str) -> None:
        """Wait until a job is in this state; not any longer when it has ended in another."""

        def hopeless() -> str:
            found = self.state(job)
            return f"job {job} has ended as {found}" if found in ENDS - {state} else self.stuck()

        wait_until(lambda: self.state(job) == state, self.queue, hopeless=hopeless)

    def stuck(self) -> str:
        """Which jobs SLURM holds, so that they never go on by themselves; "" if none."""
        text = self.command("squeue", "-h", "-t", "all", "--array", "-o", "%i|%j|%T|%r", check=False)
        jobs = [line.split("|") for line in text.splitlines() if line.count("|") == 3]
        held = [" ".join(job) for job in jobs if job[2] in HELD or "held" in job[3].lower()]
        return f"SLURM holds {held}" if held else ""

    def queue(self) -> str:
        """What squeue and sinfo show, for messages."""
        return self.command("squeue", "-t", "all", check=False) + self.command("sinfo", "-N", check=False)

    def idle(self) -> bool:
        """Whether all nodes wait for jobs."""
        states = self.command("sinfo", "--noheader", "--Node", "--format=%N %t", check=False).splitlines()
        return sorted(set(states)) == [f"{name} idle" for name in NODES]

    def _environment(self, path: str) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
        return inherited | {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path}

    def _ports(self) -> dict[str, int]:
        ports: dict[str, int] = json.loads((self.folder / "ports.json").read_text())
        return ports

    def _write(self) -> None:
        for name in ("bin", "control", "log", "run", "state", *(f"spool/{node}" for node in NODES)):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "ports.json").write_text(json.dumps(free_ports(_PORTS)))
        write_configuration(self.folder, self._ports(), self.accounting, self.settings)
        write_shims(self.folder)

    def _start_munged(self) -> None:
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(64))
        socket_file = self.folder / "munge.sock"
        files = {"key": key, "pid": self.folder / "run/munged.pid", "log": self.folder / "log/munged.log"}
        files["seed"] = self.folder / "munge.seed"
        options = [f"--{name}-file={path}" for name, path in files.items()]
        # --force: the folder may be closed to other users, who have no business here
        self._daemons.start(
            "munged",
            "munged",
            "--foreground",
            "--force",
            f"--socket={socket_file}",
            "--num-threads=4",
            *options,
        )
        self._daemons.wait("munged", socket_file.is_socket)

    def _start_accounting(self) -> None:
        data, user = self.folder / "mariadb", f"--user={getpass.getuser()}"
        where = ["--no-defaults", f"--datadir={data}", user]
        with (self.folder / "log/mariadb.log").open("ab") as log:
            words = [*where, "--auth-root-authentication-method=normal", "--skip-test-db", *_MARIADB]
            subprocess.run(
                ["mariadb-install-db", *words],
                check=True,
                stdout=log,
                stderr=log,
                env=self._daemons.environment,
            )
        port = self._ports()["mariadb"]
        own = [f"--socket={self.folder}/mariadb.sock", f"--pid-file={self.folder}/run/mariadb.pid"]
        own += ["--bind-address=127.0.0.1", f"--port={port}", f"--init-file={self.folder}/users.sql"]
        self._daemons.start("mariadb", "mariadbd", *where, *own, *_MARIADB)
        self._daemons.wait("mariadb", lambda: _listens(port))
        self._daemons.start("slurmdbd", "slurmdbd", "-D")
        self._daemons.wait("slurmdbd", lambda: _listens(self._ports()["slurmdbd"]))
        self.command("sacctmgr", "--immediate", "add", "cluster", "private")

    def _start_slurm(self) -> None:
        self._daemons.start("slurmctld", "slurmctld", "-D", "-f", str(self.folder / "slurm.conf"))
        self._daemons.wait("slurmctld", lambda: _listens(self._ports()["slurmctld"]))
        for name in NODES:
            self.start_node(name)
        for name in NODES:
            self._daemons.wait(name, self.idle)

    def _no_job_process_left(self) -> bool:
        left = job_processes(self.folder)
        send(left, signal.SIGKILL)
        return not left


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="A private SLURM on this machine, to try things on.")
    parser.add_argument("what", choices=["up", "down"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--no-accounting", action="store_true", help="as on sites without slurmdbd")
    arguments = parser.parse_args()
    try:
        cluster = Cluster(arguments.folder, not arguments.no_accounting)
        if arguments.what == "up":
            cluster.start()
            print(f"export SLURM_CONF={cluster.environment['SLURM_CONF']}")
            print(f"export PATH={cluster.folder}/bin:$PATH")
        elif not (cluster.folder / "slurm.conf").exists():
            sys.exit(f"no cluster in {cluster.folder}")
        else:
            cluster.stop()
            shutil.rmtree(cluster.folder)
    except ClusterError as error:
        sys.exit(f"cluster.py: {error}")


if __name__ == "__main__":
    main()
