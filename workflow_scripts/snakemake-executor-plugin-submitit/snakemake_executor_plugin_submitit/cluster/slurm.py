"""SLURM: submitit writes and submits the sbatch file, `commands` asks and cancels."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from typing import Any

from ..job.program import write_steps
from ..settings import ExecutorSettings
from . import commands
from .base import KILL_WAIT_S, Batch, CommandError, Refused, Request, Seen, Unclear
from .commands import NoAccounting
from .words import ALIVE, backoff_s

_COMMENT = "snakemake-submitit:"
_PROGRAM = f"{__package__.rpartition('.')[0]}.job.program"


class SlurmCluster:
    """The cluster of this login node."""

    forgets = True

    def __init__(self, settings: ExecutorSettings) -> None:
        missing = [name for name in ("sbatch", "squeue", "scancel", "srun") if shutil.which(name) is None]
        if missing:
            raise CommandError(
                f"a login node of a SLURM cluster is needed; {', '.join(missing)} not found; to try the workflow here, set "
                "--submitit-cluster local"
            )
        self.settings = settings
        self.complaint = ""  # the last error of sacct; "" while it answers
        self._accounting = True
        self._sacct_failures = 0
        self._sacct_not_before = 0.0
        self.kill_wait_s = KILL_WAIT_S
        self._max_batch: int | None = None

    def max_batch(self) -> int:
        """The smaller of the user's and the cluster's limit, asked for once; 1 if arrays are switched off."""
        if self._max_batch is None:
            try:
                cluster, self.kill_wait_s = commands.limits(self.settings.command_timeout_s)
            except CommandError:
                return min(self.settings.array_size, 1000)
            self._max_batch = max(1, min(self.settings.array_size, cluster))
        return self._max_batch

    def submit(self, batch: Batch) -> list[str]:
        """One sbatch; an array if there are several steps. Raises Unclear if sbatch succeeds without printing an id."""
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        try:
            return make_executor(batch, self.settings).send()
        except (FailedJobError, FailedSubmissionError) as error:
            raise Refused(_last_words(error)) from error

    def observe(self, jobs: Sequence[str]) -> dict[str, Seen | None]:
        """squeue for all jobs, and sacct once for those that squeue has forgotten. squeue takes precedence."""
        queue = commands.squeue(self.settings.command_timeout_s)
        found: dict[str, Seen | None] = {job: queue.get(job) for job in jobs}
        gone = [job for job, seen in found.items() if seen is None]
        for job, seen in (self._ask_accounting(gone) if gone else {}).items():
            if job in found and found[job] is None and seen.state not in ALIVE:
                found[job] = seen  # alive for sacct but not in the queue: an entry that was never closed
        return found

    def find(self, token: str) -> dict[int, str]:
        """By the comment that every submission carries. SLURM keeps a failed job without a node for a request it refused."""
        queue = commands.squeue(self.settings.command_timeout_s)
        mine = {job: seen for job, seen in queue.items() if seen.comment == _COMMENT + token}
        taken = [job for job, seen in mine.items() if seen.state != "FAILED" or seen.node]
        return {int(job.partition("_")[2] or 0): job for job in taken}

    def cancel(self, jobs: Sequence[str], alive: Sequence[str]) -> int:
        """Whole arrays by one id, 500 ids a call."""
        return commands.scancel(commands.whole_arrays(jobs, alive), self.settings.command_timeout_s)

    def _ask_accounting(self, jobs: Sequence[str]) -> dict[str, Seen]:
        if not self._accounting or time.monotonic() < self._sacct_not_before:
            return {}
        try:
            found = commands.sacct(jobs, self.settings.command_timeout_s)
        except NoAccounting:
            self._accounting = False
            return {}
        except CommandError as error:
            self._sacct_failures += 1
            self._sacct_not_before = time.monotonic() + backoff_s(self._sacct_failures)
            self.complaint = str(error)
            return {}
        self._sacct_failures, self.complaint = 0, ""
        return found


def sbatch_parameters(batch: Batch, settings: ExecutorSettings) -> dict[str, Any]:
    """submitit's parameters for a batch.

    A step with `checkpoint` runs under srun, because SLURM announces preemption only to srun's processes. Other steps run
    directly, which starts faster; so do steps with several tasks, which call srun or mpirun themselves.
    """
    request = batch.request
    under_srun = request.checkpoint and request.tasks == 1
    name = "%A_%a.out" if len(batch.steps) > 1 else "%j.out"
    log = f"{str(batch.folder.absolute()).replace('%', '%%')}/{name}"  # SLURM replaces %-signs in folders too
    more: dict[str, Any] = {"output": log, "requeue": True, **dict(request.extra)}
    if request.checkpoint and not under_srun:
        more["signal"] = f"B:USR2@{settings.signal_delay_s}"
    if request.tasks > 1:
        more["ntasks"] = request.tasks
    return {
        "job_name": batch.name,
        "comment": _COMMENT + batch.token,
        "time": request.runtime_min,
        "cpus_per_task": request.cpus,
        "nodes": request.nodes,
        "mem": f"{request.mem_mb}M" if request.mem_mb else None,
        "mem_per_cpu": f"{request.mem_mb_per_cpu}M" if request.mem_mb_per_cpu else None,
        "gres": _gres(request),
        "partition": request.partition or None,
        "account": request.account or None,
        "qos": request.qos or None,
        "constraint": request.constraint or None,
        "dependency": "afterany:" + ":".join(batch.after) if batch.after else None,
        "array_parallelism": settings.array_parallelism,
        "signal_delay_s": settings.signal_delay_s,
        "stderr_to_stdout": True,
        "wckey": None,
        "setup": [settings.setup] if settings.setup else None,
        "additional_parameters": more,
        "use_srun": under_srun,
        # srun does not inherit sbatch's CPUs and output; binding fails on some nodes.
        "srun_args": ["--cpu-bind=none", f"--cpus-per-task={request.cpus}", f"--output={log}"]
        if under_srun
        else None,
    }


def _gres(request: Request) -> str | None:
    if request.gpus:
        return ":".join(part for part in ("gpu", request.gpu_model, str(request.gpus)) if part)
    return request.gres or None


def make_executor(batch: Batch, settings: ExecutorSettings) -> Any:
    """submitit's SLURM executor for one batch; imported late, because a dry run needs no submitit."""
    from submitit.slurm.slurm import SlurmExecutor

    steps = batch.folder.absolute() / "steps.jsonl"

    class Submission(SlurmExecutor):
        """Submits from a clean environment, with a time limit, and arrays in the same way as single jobs."""

        @property
        def _submitit_command_str(self) -> str:
            return f"{self.python} -u -m {_PROGRAM} {shlex.quote(str(steps))}"

        def _make_submission_command(self, submission_file_path: Any) -> list[str]:
            unset = [word for name in commands.leaks(os.environ) for word in ("-u", name)]
            limit = ["timeout", f"{settings.command_timeout_s:g}"] if shutil.which("timeout") else []
            return ["env", *unset, *limit, "sbatch", "--parsable", str(submission_file_path)]

        @staticmethod
        def _get_job_id_from_submission_command(string: bytes | str) -> str:
            return read_job_id(string if isinstance(string, str) else string.decode(errors="replace"))

        def send(self) -> list[str]:
            steps.parent.mkdir(parents=True, exist_ok=True)
            write_steps(steps, batch.steps)
            count = len(batch.steps)
            if count > 1:
                self.parameters["map_count"] = count
            job: str = self._submit_command(self._submitit_command_str).job_id
            return [f"{job}_{index}" for index in range(count)] if count > 1 else [job]

    parameters = sbatch_parameters(batch, settings)
    python = shlex.quote(sys.executable)
    # `exec` makes Python the job's first process. A shell would keep the signals and the exit status to itself.
    executor = Submission(batch.folder, python=python if parameters["use_srun"] else f"exec {python}")
    executor.update_parameters(**parameters)
    return executor


def read_job_id(answer: str) -> str:
    """The id in sbatch's answer: `83`, `83;cluster` or `Submitted batch job 83` on a line of its own.

    Raises:
        Unclear: for any other answer. sbatch reported success, so the jobs exist unless a wrapper around it is wrong.
    """
    found = re.findall(r"(?m)^(?:Submitted batch job )?(\d+)(?:;[\w.-]+)?\s*$", answer)
    if len(set(found)) == 1:
        return str(found[0])
    raise Unclear(f"sbatch must print a job id; got {answer.strip()[-100:]!r}")


def _last_words(error: Exception) -> str:
    cause = error.__cause__
    if getattr(cause, "returncode", None) == 124:
        return "sbatch gave no answer within the time limit"
    return " ".join(str(error).split()) or str(cause or "sbatch failed and printed nothing")
