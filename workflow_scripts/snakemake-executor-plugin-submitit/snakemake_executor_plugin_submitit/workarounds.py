"""What works around faults and gaps of Snakemake, each with the version in which it was seen and the change that ends it.

Seen in Snakemake 9.27.1 with snakemake-interface-executor-plugins 9.4.0.
"""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.settings import DeploymentMethod, SharedFSUsage

from .journal import journal_path, read

# Groups change from run to run. With --group-components Snakemake packs a group's parts in the order of their memory
# addresses, so after a restart no group is one that was submitted before. Here parts that were submitted together stay
# together, and the others are packed in the order of their outputs. No interface reaches the packing, and it happens before
# the executor is made; so `ExecutorSettings`, which exist by then, replace the function. Can go when
# `snakemake.dag.group_into_chunks` gets its parts in a stable order; snakemake issue 1628 (open) is about the same function.

Chunks = Callable[[int, Iterable[Any]], Iterable[tuple[Any, ...]]]


def keep_groups(folder: Path) -> None:
    """From now on, Snakemake in this process packs groups by the journal in `folder`."""
    import snakemake.api  # imports snakemake.dag, which cannot be imported first

    original = getattr(snakemake.dag, "group_into_chunks", None)
    if original is None or getattr(original, "is_stable", False):
        return  # another Snakemake: groups may change, with no other harm

    def stable(size: int, components: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
        return pack_again(size, components, sent_together(folder), original)

    stable.is_stable = True  # type: ignore[attr-defined]
    snakemake.dag.group_into_chunks = stable


def pack_again(
    size: int, components: Iterable[Any], sent: Mapping[str, str], chunks: Chunks
) -> Iterator[tuple[Any, ...]]:
    """Chunks of at most `size` components: those submitted together stay together (`sent`: output → submission)."""
    together: dict[str, list[Any]] = {}
    for outputs, component in sorted(((_outputs(c), c) for c in components), key=lambda pair: pair[0]):
        together.setdefault(next((sent[path] for path in outputs if path in sent), ""), []).append(component)
    for _, same in sorted(together.items()):
        yield from chunks(size, same)


def sent_together(folder: Path) -> dict[str, str]:
    """Output → submission, for every job that is not known to have failed."""
    records = [r for r in read(journal_path(folder)).values() if r.ended in ("", "COMPLETED")]
    return {path: f"{record.token}-{record.index}" for record in records for path in record.parts}


def _outputs(component: Any) -> list[str]:
    return sorted(str(path) for job in component.jobs for path in job.output)


# The scheduler wakes up too often. While jobs wait for a free slot (-j), it looks for jobs to start after each end of a job,
# and again a second after each look (--max-jobs-per-timespan), and so on: after some hundred jobs it looks hundreds of times
# a second. One timer is enough, and none at the end, when Snakemake would wait for it. Can go when
# `JobScheduler._schedule_reevalutation` keeps at most one timer.


def drop_timers(*, keep: int = 1) -> int:
    """Cancel all of the scheduler's timers but the newest, whose look covers the others; returns how many."""
    timers = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    scheduler = "snakemake.scheduling.job_scheduler"
    waiting = [timer for timer in timers if getattr(timer.function, "__module__", "") == scheduler]
    needless = waiting[: len(waiting) - keep] if len(waiting) > keep else []
    for timer in needless:
        timer.cancel()
    return len(needless)


# A plugin needs values that only private names give: what Snakemake records of a job, to decide whether to rerun it; and the
# default resources, to tell them from a rule's own. Can go when the interface offers them.


def recorded(job: Any, persistence: Any) -> list[Any]:
    """Code, params and software of a job, as Snakemake records them."""
    params = [str(value) for value in persistence._params(job)]
    return [persistence._code(job.rule), params, persistence._software_stack_hash(job)]


def script_path(job: Any) -> str | None:
    """The rule's script or notebook."""
    script = job.rule.script or job.rule.notebook
    return job._path_to_source_file(script).get_path_or_uri(secret_free=True) if script else None


def default_resources(workflow: Any) -> Mapping[str, Any]:
    """The parsed `--default-resources`."""
    return getattr(workflow.resource_settings, "_parsed_default_resources", None) or {}


class SnakemakeInJob(RemoteExecutor):
    """The command line of the Snakemake inside a job, with what Snakemake's own does wrong.

    * The files to wait for are left out: if one stays missing, Snakemake ends with status 0 without running the rule. The
      step waits instead. Can go when Snakemake fails.
    * A single job runs without Snakemake's limit of starts per second, which delays its end by a second. Can go when the
      limit no longer delays the last job.
    * Without the shared persistence: with it, Snakemake overwrites the controller's record of the job's id. It gets a private
      one; the other folders in it are named, so that they stay shared. Can go when a job leaves the record alone.
    * Snakefile and Python are quoted for the shell. Snakemake quotes strings as Python does, and Python not at all. Can go
      when Snakemake uses `shlex`.
    * The message of a failed group is printed, which Snakemake leaves out. Can go when it prints it.
    """

    def tell(self, text: str) -> None:
        """A line on the user's terminal."""
        self.logger.warning(f"submitit: {text}")

    def get_job_args(self, job: Any, **_: Any) -> str:
        """The job's own CPUs, no files to wait for, no limit of starts."""
        words = str(super(RemoteExecutor, self).get_job_args(job, cores=max(1, int(job.threads))))
        return words if job.is_group() else f"{words} --max-jobs-per-timespan 100/0s"

    def additional_general_args(self) -> str:
        """Options that replace Snakemake's: the last occurrence counts."""
        workflow = self.workflow
        uses = set(workflow.storage_settings.shared_fs_usage) - {SharedFSUsage.PERSISTENCE}
        words = ["--shared-fs-usage", *(sorted(use.item_to_choice() for use in uses) or ["none"])]
        words += ["--quiet", "progress", "rules", "host"]
        if workflow.execution_settings.shadow_prefix is None:
            words += ["--shadow-prefix", str(Path(workflow.persistence.shadow_path).parent)]
        methods = workflow.deployment_settings.deployment_method
        if DeploymentMethod.CONDA in methods:
            words += ["--conda-prefix", str(workflow.persistence.conda_env_path)]
        if DeploymentMethod.APPTAINER in methods:
            words += ["--apptainer-prefix", str(workflow.persistence.container_img_path)]
        return shlex.join(words)

    def get_snakefile(self) -> str | Path:
        """As a path, which Snakemake quotes for the shell."""
        path = Path(super().get_snakefile())
        return path if path.exists() else str(super().get_snakefile())

    def get_python_executable(self) -> str:
        """Quoted, because an environment may be in a folder with spaces."""
        return shlex.quote(super().get_python_executable())

    def print_job_error(self, job_info: SubmittedJobInfo, msg: str | None = None, **kwargs: Any) -> None:
        """With the message of a group."""
        if msg and job_info.job.is_group():
            self.tell(msg)
        super().print_job_error(job_info, msg, **kwargs)
