"""Steps that count themselves outside their outputs, and the ways to make one workflow's SLURM commands fail."""

from __future__ import annotations

import base64
import getpass
import os
import shlex
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from cluster import Cluster
from cluster_processes import send, started
from patience import wait_until
from runs import FLAGS, Run, Workflow

RULE_ALL = "rule all:\n    input: {inputs}\n"
RULE = """
rule {name}:{before}
    output: "{output}"
    resources: runtime={runtime}, mem_mb={mem_mb}{more}
    shell: {command!r}
"""

# A job's id as SLURM shows it: of an array's task `array_task`, and not the number of its own, which may be the array's.
JOB = "${{SLURM_ARRAY_JOB_ID:-${{SLURM_JOB_ID:-here}}}}${{SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}}"

# Notes the call, then: fails, dawdles, or lets the run that asked die, before or after the real command.
_SHIM = """\
#!/bin/bash
exec 9>&1
cd {folder} || exit 99
echo {name} >> calls
[ -e hang_{name} ] && exec sleep 1000 >/dev/null 2>&1 9>&1
if [ -e fail_{name} ]; then cat fail_{name} >&2; echo {name}.failed >> calls; exit 1; fi
if [ -e die_before_{name} ]; then rm die_before_{name}; kill -9 "$(cat controller)"; sleep 1; fi
cd "$OLDPWD" || exit 99
answer=$({program} "$@"); status=$?
cd {folder} || exit 99
if [ -e die_after_{name} ]; then rm die_after_{name}; kill -9 "$(cat controller)"; exit 1; fi
[ -z "$answer" ] || printf '%s\\n' "$answer" >&9
[ $status = 0 ] || echo {name}.failed >> calls
exit $status
"""


class Counted(Workflow):
    """A workflow whose steps write a line each to `counts`, with shims of its own in front of SLURM's commands."""

    def __init__(self, folder: Path, cluster: Cluster, *flags: str) -> None:
        """`folder` is made; `flags` come behind those of every run."""
        folder.mkdir(parents=True)
        self.cluster = cluster
        self.faults = folder.parent / f"{folder.name} faults"
        self.faults.mkdir()
        environment = dict(
            cluster.environment, OMP_NUM_THREADS="1", COUNTS=str(folder.parent / f"{folder.name}.counts")
        )
        self.counts = Path(environment["COUNTS"])
        self.counts.touch()
        for name in ("sbatch", "squeue", "sacct"):
            program = shlex.quote(str(cluster.folder / "bin" / name))
            shim = self.faults / name
            shim.write_text(_SHIM.format(folder=shlex.quote(str(self.faults)), name=name, program=program))
            shim.chmod(0o755)
        environment["PATH"] = f"{self.faults}:{environment['PATH']}"
        super().__init__(folder, environment, (*FLAGS, *flags), hopeless=cluster.stuck)

    def fault(self, name: str, text: str | None = "") -> None:
        """Switch a fault on, or off with None: fail_X (its message), hang_X, die_before_X, die_after_X."""
        (self.faults / name).unlink(missing_ok=True) if text is None else (self.faults / name).write_text(
            text
        )

    def calls(self, name: str) -> int:
        """How often a command was run so far."""
        log = self.faults / "calls"
        return log.read_text().split().count(name) if log.exists() else 0

    def start(self, *flags: str) -> Run:
        """Start Snakemake, and tell the shims whom to kill."""
        run = super().start(*flags)
        self.fault("controller", str(run.pid))
        return run

    def lines(self) -> list[list[str]]:
        """What the steps have noted so far: the words of each line, a step's name first."""
        return [line.split() for line in self.counts.read_text().splitlines()]

    def begun(self) -> Counter[str]:
        """How often each step has begun."""
        return Counter(words[0] for words in self.lines())

    def job(self, name: str) -> str:
        """The job id of a step's last start."""
        return [words[1] for words in self.lines() if words[0] == name][-1]

    def kill_step(self, name: str) -> None:
        """kill -9 of all processes of a step's job, the first one first, so that it can't write down its end."""
        send(_processes(self.cluster, self.job(name)), signal.SIGKILL)

    def wait_forgotten(self, *names: str) -> None:
        """Wait until the queue no longer knows these steps' jobs."""
        ids = {self.job(name) for name in names}
        wait_until(
            lambda: (
                not ids
                & set(self.cluster.command("squeue", "--array", "-h", "-t", "all", "-o", "%i").split())
            ),
            self.cluster.queue,
        )

    def wait_for(self, *names: str) -> None:
        """Wait until all these steps have begun."""
        run = self.runs[-1]

        def ready() -> bool:
            return set(names) <= set(self.begun()) or run.poll() is not None

        wait_until(
            ready,
            lambda: f"begun: {dict(self.begun())}, wanted {names}\n{run.output}\n{self.cluster.queue()}",
            hopeless=self.cluster.stuck,
        )
        assert set(names) <= set(self.begun()), run.output

    def end_all(self) -> None:
        """kill -9 of what still runs, on the cluster too (a test that failed half-way leaves jobs behind)."""
        self.kill()
        self.cluster.command("scancel", "--quiet", f"--user={getpass.getuser()}", check=False)

    def nothing_to_do(self) -> None:
        """Snakemake finds all outputs made, and has a record of each and a note of none as incomplete."""
        assert "Nothing to be done" in self.run("-n")
        notes = {kind: _names(self.folder / ".snakemake" / kind) for kind in ("metadata", "incomplete")}
        assert notes["incomplete"] == set()
        summary = self.run("--summary").splitlines()
        outputs = {line.split("\t")[0] for line in summary if line.count("\t") > 4} - {"output_file"}
        assert outputs and outputs == notes["metadata"]


def _names(folder: Path) -> set[str]:
    """The files that Snakemake has notes of: each note's path is the file's name in base 64."""
    found = (
        [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()] if folder.exists() else []
    )
    return {
        base64.urlsafe_b64decode("".join(part.lstrip("@") for part in path.parts)).decode() for path in found
    }


def rule(
    name: str,
    command: str,
    *,
    output: str = "",
    runtime: str = "5",
    mem_mb: str = "100",
    more: str = "",
    before: str = "",
    counted: bool = True,
) -> str:
    """A rule that counts itself (unless its command does) and runs `command`; its output is `name` unless given.

    `more`: further resources; `before`: further lines of the rule.
    """
    note = f'echo {name} {JOB} $(date +%s.%N) >> "$COUNTS"; ' if counted else ""
    more = f", {more}" if more else ""
    values = {"name": name, "output": output or name, "runtime": runtime, "mem_mb": mem_mb, "more": more}
    return RULE.format(**values, before=f"\n    {before}" if before else "", command=note + command)


def python(script: Path, *arguments: str) -> str:
    """A command that runs a script with this Python, in place of the shell."""
    return (
        shlex.join(["exec", sys.executable, "-S", str(script), *arguments])
        .replace("{", "{{")
        .replace("}", "}}")
    )


def _processes(cluster: Cluster, job: str) -> list[int]:
    array, _, task = job.partition("_")
    wanted = {f"SLURM_CONF={cluster.folder}/slurm.conf"}
    wanted |= (
        {f"SLURM_ARRAY_JOB_ID={array}", f"SLURM_ARRAY_TASK_ID={task}"} if task else {f"SLURM_JOB_ID={job}"}
    )
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if wanted <= set((path / "environ").read_bytes().decode(errors="replace").split("\0")):
                found.append(int(path.name))
        except OSError:
            continue  # it ended
    assert found, f"job {job} has no process"
    return sorted(found, key=lambda pid: int(started(pid) or 0))


def kill(run: Run) -> None:
    """kill -9 of the controller alone, as the kernel or an administrator would do it."""
    if run.poll() is None:
        os.kill(run.pid, signal.SIGKILL)
        run.wait()


def restart_slurmctld(cluster: Cluster, meanwhile: Callable[[], None]) -> None:
    """kill -9 of slurmctld; comes back when the new one answers."""
    daemons = cluster._daemons
    daemons.kill("slurmctld", signal.SIGKILL)
    wait_until(lambda: daemons.pid("slurmctld") is None, "slurmctld goes on")
    try:
        meanwhile()
    finally:
        daemons.start("slurmctld", "slurmctld", "-D", "-f", str(cluster.folder / "slurm.conf"))
        wait_until(lambda: "is UP" in cluster.command("scontrol", "ping", check=False), "slurmctld is not up")
