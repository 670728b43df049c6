"""A cluster made of files and processes: sbatch, squeue, sacct, scancel, scontrol and srun in one script.

Jobs really run. State lies in $FAKE_SLURM; files in its `control` folder make commands fail, dawdle or lie:
`fail_<command>` (the message; a first line `times=N` bounds it), `delay_<command>` (seconds), `hold` (new jobs stay pending,
with this reason), `empty_squeue`, `forget` (squeue lists no ended jobs), `no_accounting`. Unknown commands and options are
errors (status 99).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(os.environ["FAKE_SLURM"])
ACTIVE = {"PENDING", "RUNNING"}


def unknown(what: str) -> None:
    with (ROOT / "unknown.log").open("a") as log:
        log.write(what + "\n")
    print(f"fake slurm does not know {what}", file=sys.stderr)
    sys.exit(99)


def control(name: str) -> str | None:
    path = ROOT / "control" / name
    return path.read_text() if path.exists() else None


def load(job: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "jobs" / job).read_text())
    return found


def save(job: dict[str, Any]) -> None:
    path = ROOT / "jobs" / job["id"]
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(job))
    temporary.replace(path)


def change(identity: str, **fields: Any) -> dict[str, Any]:
    with (ROOT / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        job = load(identity) | fields
        save(job)
        return job


def every_job() -> list[dict[str, Any]]:
    return [load(path.name) for path in sorted((ROOT / "jobs").glob("[0-9]*"))]


def sbatch(arguments: list[str]) -> None:
    if arguments[0] != "--parsable" or len(arguments) != 2:
        unknown(f"sbatch {arguments}")
    script = arguments[1]
    text = Path(script).read_text()
    options: dict[str, str] = {}
    for line in re.findall(r"^#SBATCH --(.*)$", text, re.MULTILINE):
        name, _, value = line.partition("=")
        options[name] = (shlex.split(value) or [""])[0]
    known = {
        "array", "comment", "cpus-per-task", "job-name", "mem", "mem-per-cpu", "nodes", "open-mode", "output", "requeue",
        "signal", "time", "gres", "partition", "account", "qos", "constraint", "dependency", "ntasks", "exclude",
    }  # fmt: skip
    for name in options:
        if name not in known:
            unknown(f"sbatch --{name}")
    if options.get("partition") == "nowhere":
        print("sbatch: error: invalid partition specified: nowhere", file=sys.stderr)
        sys.exit(1)
    with (ROOT / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        base = int((ROOT / "next").read_text()) if (ROOT / "next").exists() else 100
        (ROOT / "next").write_text(str(base + 1))
    count = int(options["array"].partition("%")[0].partition("-")[2]) + 1 if "array" in options else 0
    hold = control("hold")
    for index in range(count or 1):
        identity = f"{base}_{index}" if count else str(base)
        (ROOT / "scripts").mkdir(exist_ok=True)
        (ROOT / "scripts" / identity).write_text(text)
        save(
            {
                "id": identity, "state": "PENDING", "reason": (hold or "None").strip(), "node": "", "exit": 0,
                "comment": options.get("comment", ""), "options": options, "cwd": os.getcwd(), "restarts": 0,
                "environment": dict(os.environ), "after": options.get("dependency", "").split(":")[1:],
            }
        )  # fmt: skip
        if hold is None:
            start(identity)
    answer, _, status = (control("answer_sbatch") or "{}").partition("\n")
    print(answer.format(base))
    sys.exit(int(status or 0))


def start(identity: str) -> None:
    subprocess.Popen(
        [sys.executable, "-S", __file__, "run", identity],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def run_job(arguments: list[str]) -> None:
    (identity,) = arguments
    job = load(identity)
    while any(
        other["id"].partition("_")[0] in job["after"] or other["id"] in job["after"]
        for other in every_job()
        if other["state"] in ACTIVE
    ):
        time.sleep(0.2)
    if load(identity)["state"] != "PENDING":
        return
    array, _, task = identity.partition("_")
    environment = job["environment"] | {
        "SLURM_JOB_ID": identity.replace("_", "9"),
        "SLURM_RESTART_COUNT": str(job["restarts"]),
    }
    if task:
        environment |= {"SLURM_ARRAY_JOB_ID": array, "SLURM_ARRAY_TASK_ID": task}
    output = job["options"]["output"].replace("%A", array).replace("%a", task).replace("%j", array)
    with (Path(job["cwd"]) / output).open("a") as log:
        child = subprocess.Popen(
            ["bash", str(ROOT / "scripts" / identity)],
            cwd=job["cwd"],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        change(identity, state="RUNNING", reason="None", node="fake1", pid=child.pid)
        with (ROOT / "started.log").open("a") as log_started:
            log_started.write(identity + "\n")
        status = child.wait()
    if load(identity)["state"] == "RUNNING":
        change(identity, state="COMPLETED" if status == 0 else "FAILED", exit=status)


def squeue(arguments: list[str]) -> None:
    for argument in arguments:
        if argument not in ("--me", "--noheader", "--array", "--states=all", "--format=%i|%T|%N|%r|%k"):
            unknown(f"squeue {argument}")
    for job in every_job():
        if control("empty_squeue") is None and (control("forget") is None or job["state"] in ACTIVE):
            print("|".join((job["id"], job["state"], job["node"], job["reason"], job["comment"])))


def sacct(arguments: list[str]) -> None:
    options = dict(a.lstrip("-").partition("=")[::2] for a in arguments)
    if control("no_accounting") is not None:
        print("Slurm accounting storage is disabled", file=sys.stderr)
        sys.exit(1)
    wanted = set(options["jobs"].split(","))
    for job in every_job():
        if job["id"].partition("_")[0] not in wanted:
            continue
        code = "0:0" if job["exit"] == 0 else f"{job['exit']}:0"
        if options["format"] == "JobID,State,NodeList,ExitCode,Reason":
            print("|".join((job["id"], job["state"], job["node"], code, job["reason"])))
        elif options["format"] == "JobID,ElapsedRaw,TotalCPU,MaxRSS,TRESUsageInMax":
            print(f"{job['id']}|60|00:30.000||")
            print(f"{job['id']}.batch|60|00:30.000|102400K|cpu=00:00:30")
        else:
            unknown(f"sacct --format={options['format']}")


def scancel(arguments: list[str]) -> None:
    wanted = {argument for argument in arguments if not argument.startswith("--")}
    for job in every_job():
        if job["state"] in ACTIVE and (job["id"] in wanted or job["id"].partition("_")[0] in wanted):
            change(job["id"], state="CANCELLED")
            stop(job)


def stop(job: dict[str, Any]) -> None:
    for child in children(job.get("pid", 0)) if job.get("pid") else []:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def children(pid: int) -> list[int]:
    found, parents = [pid], {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
    for known in found:
        found += [child for child, parent in parents.items() if parent == known]
    return found


def scontrol(arguments: list[str]) -> None:
    if arguments == ["show", "config"]:
        print("MaxArraySize            = 1001")
    elif arguments[0] == "requeue":
        for job in every_job():
            if arguments[1] in (job["id"], job["id"].replace("_", "9")):
                change(job["id"], state="PENDING", restarts=job["restarts"] + 1)
                start(job["id"])
                stop(job)
    elif arguments[0] == "release":
        for job in every_job():
            if job["state"] == "PENDING":
                start(job["id"])
    else:
        unknown(f"scontrol {arguments}")


def main() -> None:
    name, *arguments = sys.argv[1:]
    with (ROOT / "calls.log").open("a") as log:
        log.write(f"{name} {shlex.join(arguments)}\n")
    delay = control(f"delay_{name}")
    time.sleep(float(delay or 0))
    failure = control(f"fail_{name}")
    if failure is not None:
        first, _, rest = failure.partition("\n")
        if first.startswith("times="):
            left = int(first[6:]) - 1
            path = ROOT / "control" / f"fail_{name}"
            path.write_text(f"times={left}\n{rest}") if left else path.unlink()
            failure = rest
        print(failure, file=sys.stderr)
        sys.exit(1)
    commands = {
        "sbatch": sbatch, "run": run_job, "squeue": squeue, "sacct": sacct, "scancel": scancel, "scontrol": scontrol,
    }  # fmt: skip
    commands[name](arguments) if name in commands else unknown(name)


if __name__ == "__main__":
    main()
