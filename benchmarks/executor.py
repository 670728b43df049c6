"""Many short jobs on a private SLURM: our executor against the official one and Snakemake's local executor.

    python benchmarks/executor.py --jobs 500 -j 64 --json executor.json

Each runs the same workflow (`echo > file`, N times) with its defaults, the same -j and the same time between status
checks, one after the other on a fresh cluster of two nodes with four CPUs each: more than this machine has, so what is
compared is how much work a job makes, not who gets more of the machine. Wall time is that of the whole `snakemake`
command. Calls of SLURM's commands are counted by shims on the PATH. The controller's CPU time is its own, without its
children's, less that of the same command on a workflow with a single job (imports, start). CPU on the nodes is SLURM's own
account of the jobs.

The official plugin is put in a temporary folder with pip, for its own runs only.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "slurm"))

from cluster import Cluster

OFFICIAL = ("snakemake-executor-plugin-slurm", "snakemake-executor-plugin-slurm-jobstep")
NAME = "snakemake-executor-plugin-submitit"
PLUGIN = Path(__file__).parents[1] / "workflow_scripts" / NAME / NAME.replace("-", "_")
QUERIES = ("squeue", "sacct", "scontrol", "sacctmgr", "sinfo")
SNAKEFILE = """\
rule all:
    input: expand("out/{i}", i=range(int(config["count"])))
rule make:
    output: "out/{i}"
    resources: mem_mb=200, runtime=5
    shell: "echo {wildcards.i} > {output}"
"""
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Contestant:
    """`{poll}` in a flag is the time between status checks; `packages` are folders on Python's path."""

    name: str
    flags: tuple[str, ...]
    packages: tuple[str, ...]
    on_slurm: bool = True


@dataclass
class Measured:
    """One run. CPU times in seconds, `node_cpu` as SLURM counted it."""

    name: str
    jobs: int
    wall: float
    cpu: float
    node_cpu: float
    calls: dict[str, int]

    @property
    def queries(self) -> int:
        """Calls that only ask."""
        return sum(self.calls.get(name, 0) for name in QUERIES)


def contestants(ours: str, official: str) -> list[Contestant]:
    """Ours, the official one, the engine's own; ours is installed everywhere, as it would be."""
    wait = ("--slurm-init-seconds-before-status-checks", "{poll}")
    return [
        Contestant("submitit", ("--executor", "submitit"), (ours,)),
        Contestant("slurm", ("--executor", "slurm", *wait), (ours, official)),
        Contestant("local", ("--executor", "local"), (ours,), on_slurm=False),
    ]


def install(folder: str) -> str:
    """The official plugin alone, for what it needs is there; returns its version."""
    uv = shutil.which("uv")
    tool = [uv, "pip", "install", "--compile-bytecode"] if uv else ["pip", "install"]
    where = ["--python", sys.executable, "--quiet", "--no-deps", "--target", folder]
    words = [*tool, *where] if uv else [tool[0], *where[:2], tool[1], *where[2:]]
    subprocess.run([*words, *OFFICIAL], check=True)
    return next(path.stem.split("-")[1] for path in Path(folder).glob("*plugin_slurm-*.dist-info"))


def find_cluster_always(cluster: Cluster) -> None:
    """The official plugin removes SLURM_CONF from its jobs, whose srun then looks in /etc: have the shims set it."""
    for shim in (cluster.folder / "bin").iterdir():
        lines = shim.read_text().partition("\n")
        shim.write_text(f"{lines[0]}\nexport SLURM_CONF={cluster.folder}/slurm.conf\n{lines[2]}")


def own_cpu(process: subprocess.Popen[bytes]) -> float:
    """CPU seconds of a process that has ended but is not yet waited for, without those of its children."""
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def follow(process: subprocess.Popen[bytes], folder: Path, name: str, count: int) -> None:
    """Tell how many jobs are done, every ten seconds, until the process ends."""
    start = told = time.monotonic()
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        time.sleep(0.1)
        now = time.monotonic()
        if now - told >= 10:
            told, done = now, len(list((folder / "out").glob("*")))
            print(f"{name}: {done} of {count} jobs after {now - start:.0f} s", file=sys.stderr, flush=True)


def words_of(one: Contestant, count: int, options: argparse.Namespace) -> list[str]:
    """The command line."""
    poll = str(options.poll)
    common = ["-j" if one.on_slurm else "--cores", str(options.parallel if one.on_slurm else options.cores)]
    common += [
        "--scheduler",
        "greedy",
        "--quiet",
        "progress",
        "rules",
        "--seconds-between-status-checks",
        poll,
    ]
    if options.timespan:
        common += ["--max-jobs-per-timespan", options.timespan]
    snakemake = str(Path(sys.executable).with_name("snakemake"))
    flags = [flag.format(poll=poll) for flag in one.flags]
    return [snakemake, *flags, *common, "--config", f"count={count}"]


def run(one: Contestant, count: int, cluster: Cluster, options: argparse.Namespace) -> Measured:
    """One workflow from nothing to its end, in a folder of its own.

    Raises:
        SystemExit: with the end of its output, if it failed.
    """
    environment = clean(cluster.environment) | {"PYTHONPATH": os.pathsep.join(one.packages)}
    before = {name: len(cluster.calls(name)) for name in ("sbatch", "srun", "scancel", *QUERIES)}
    since = time.strftime("%Y-%m-%dT%H:%M:%S")
    with tempfile.TemporaryDirectory(dir=options.folder) as name, open(f"{name}.log", "wb") as log:
        folder = Path(name)
        (folder / "Snakefile").write_text(SNAKEFILE)
        start = time.monotonic()
        process = subprocess.Popen(
            words_of(one, count, options), cwd=folder, env=environment, stdout=log, stderr=log
        )
        follow(process, folder, one.name, count)
        wall, cpu = time.monotonic() - start, own_cpu(process)
        made = len(list((folder / "out").glob("*")))
    if process.wait() or made != count:
        text = Path(log.name).read_text(errors="replace")[-3000:]
        sys.exit(f"{one.name} ended with status {process.returncode}, {made} of {count} jobs done:\n{text}")
    calls = {name: len(cluster.calls(name)) - number for name, number in before.items()}
    return Measured(one.name, count, wall, cpu, node_cpu(cluster, since) if one.on_slurm else 0.0, calls)


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """Without what would make a difference on some machines: a profile, bytecode that is not kept, more packages."""
    unwanted = ("SNAKEMAKE_PROFILE", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH")
    return {name: value for name, value in environment.items() if name not in unwanted}


def node_cpu(cluster: Cluster, since: str) -> float:
    """CPU seconds of all jobs that began after `since`, once the accounting has heard of their ends."""
    words = ("sacct", "--allusers", "--noheader", "--parsable2", f"--starttime={since}")
    until = time.monotonic() + 60
    while True:
        lines = cluster.command(*words, "--format=JobID,State,TotalCPU").splitlines()
        cells = [line.split("|") for line in lines if "." not in line.partition("|")[0]]  # no steps
        if not any(state in ("RUNNING", "COMPLETING", "PENDING") for _, state, _ in cells):
            return sum(seconds(cpu) for _, _, cpu in cells)
        if time.monotonic() > until:
            raise RuntimeError(f"jobs still run a minute after their workflow: {cells[:5]}")
        time.sleep(1)


def seconds(text: str) -> float:
    """From SLURM's `[[days-]hours:]minutes:seconds`."""
    days, _, rest = text.rpartition("-")
    total = 0.0
    for part in rest.split(":"):
        total = 60 * total + float(part or 0)
    return 86400 * int(days or 0) + total


def markdown(found: list[Measured], idle: Mapping[str, float]) -> str:
    """What each run took; the controller's CPU less that of its start."""
    head = "| executor | jobs | wall s | `sbatch` | `srun` | queries | queries a minute | controller's CPU, ms a job | CPU on the nodes, s a job |"
    lines = [head, "|---|--:|--:|--:|--:|--:|--:|--:|--:|"]
    for one in found:
        slurm = [str(one.calls[name]) for name in ("sbatch", "srun")]
        slurm += [str(one.queries), f"{60 * one.queries / one.wall:.1f}"]
        cells = [
            one.name,
            str(one.jobs),
            f"{one.wall:.0f}",
            *(slurm if one.node_cpu else [""] * 4),
            f"{per_job(one, idle):.1f}",
            f"{one.node_cpu / one.jobs:.2f}" if one.node_cpu else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def per_job(one: Measured, idle: Mapping[str, float]) -> float:
    """The controller's ms for one more job."""
    return 1000 * (one.cpu - idle[one.name]) / one.jobs


def ratios(found: Mapping[str, Measured], idle: Mapping[str, float]) -> str:
    """Ours against the others, with the aims."""
    ours, lines = found["submitit"], ["| ratio | | aim |", "|---|--:|--:|"]
    if "slurm" in found:
        other = found["slurm"]
        lines += [
            f"| `sbatch` calls, ours / official | {ours.calls['sbatch'] / other.calls['sbatch']:.3f} | 0.2 |",
            f"| wall time, ours / official | {ours.wall / other.wall:.2f} | 0.7 |",
            f"| CPU on the nodes, ours / official | {ours.node_cpu / other.node_cpu:.2f} | |",
        ]
    if "local" in found:
        share = per_job(ours, idle) / per_job(found["local"], idle)
        lines.append(f"| controller's CPU per job, ours / local executor | {share:.2f} | 1.5 |")
    return "\n".join(lines)


def main(options: argparse.Namespace) -> None:
    """Measure, print, store."""
    with tempfile.TemporaryDirectory(prefix="executor-") as name:
        options.folder = name
        ours, official = str(Path(name) / "ours"), str(Path(name) / "official")
        # A copy, so that an edit during the measurement changes nothing.
        shutil.copytree(PLUGIN, Path(ours) / PLUGIN.name)
        version = install(official) if "slurm" in options.only else "not run"
        chosen = [one for one in contestants(ours, official) if one.name in options.only]
        with Cluster(Path(name) / "slurm") as cluster:
            find_cluster_always(cluster)
            idle, found = {}, []
            for one in chosen:
                idle[one.name] = run(one, 1, cluster, options).cpu
                for count in options.jobs if one.name == "submitit" else options.jobs[-1:]:
                    found.append(run(one, count, cluster, options))
                    print(markdown(found[-1:], idle), file=sys.stderr, flush=True)
    print(f"-j {options.parallel}, status every {options.poll} s; official plugin: {version}\n")
    print(markdown(found, idle))
    if "submitit" in options.only:
        print("\n" + ratios({one.name: one for one in found}, idle))
    if options.json:
        options.json.write_text(json.dumps({"idle": idle, "runs": [asdict(one) for one in found]}, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--jobs", nargs="+", type=int, default=[100, 500], help="the last for all, the others for ours only"
    )
    parser.add_argument("-j", dest="parallel", type=int, default=64, help="of Snakemake on SLURM")
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="of Snakemake's local executor")
    parser.add_argument("--poll", type=int, default=5, help="seconds between status checks")
    parser.add_argument("--timespan", help="Snakemake's --max-jobs-per-timespan")
    names = ("submitit", "slurm", "local")
    parser.add_argument("--only", nargs="+", choices=names, default=list(names))
    parser.add_argument("--json", type=Path)
    main(parser.parse_args())
