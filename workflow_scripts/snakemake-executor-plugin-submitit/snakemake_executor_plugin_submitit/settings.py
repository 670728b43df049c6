"""The `--submitit-*` settings.

Annotations must be real types here, not strings: Snakemake makes the command line from them (so no
`from __future__ import annotations` in this file).
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.settings import CommonSettings, ExecutorSettingsBase

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    pass_default_storage_provider_args=True,
    pass_default_resources_args=True,
    pass_envvar_declarations_to_cmd=True,
    auto_deploy_default_storage_provider=False,
    init_seconds_before_status_checks=1,
    pass_group_args=True,
)


def _setting(default: Any, text: str, **more: Any) -> Any:
    return field(default=default, metadata={"help": text, **more})


@dataclass
class ExecutorSettings(ExecutorSettingsBase):
    """What a user can set; each field is a command line flag and a line of a profile."""

    cluster: str = _setting(
        "slurm",
        "Where steps run: slurm, local (processes on this machine, to try a profile), debug (one by one, in this process).",
        choices=["slurm", "local", "debug"],
    )
    folder: str = _setting(
        ".snakemake/submitit",
        "Folder for the journal, submission files and logs, relative to the working directory. Must be on a file "
        "system that login and compute nodes share.",
    )
    keep_days: int = _setting(
        10,
        "Logs and submission files of steps that succeeded are deleted after this many days; those of failures stay.",
    )
    array_size: int = _setting(
        1000,
        "At most so many jobs in one sbatch (the cluster's MaxArraySize bounds it further); 1 submits each job alone.",
    )
    array_parallelism: int = _setting(256, "At most so many tasks of one array run at the same time.")
    collect_seconds: float = _setting(
        0.5, "Wait so long for more jobs to become ready before submitting, so that they share one sbatch."
    )
    submissions_per_minute: int = _setting(60, "At most so many sbatch calls a minute.")
    command_timeout_s: int = _setting(60, "A SLURM command that takes longer than this counts as failed.")
    patience_min: int = _setting(
        30,
        "How long SLURM may refuse submissions before the step fails, and how long a job that SLURM no longer knows may "
        "stay without a sign of its end.",
    )
    requeues: int = _setting(
        10,
        "How often one job may start again after preemption, node failure or a checkpoint at its time limit.",
    )
    signal_delay_s: int = _setting(
        120,
        "Steps with the resource checkpoint=1 get the signal USR2 this long before their time limit (SLURM may send it up "
        "to a minute earlier).",
    )
    on_interrupt: str = _setting(
        "cancel",
        "What Ctrl-C does to queued and running jobs: cancel them, or leave them for the next run to adopt.",
        choices=["cancel", "leave"],
    )
    ignore_resources: str = _setting(
        "",
        "Comma-separated names of resources that are meant for Snakemake's own scheduling and not for SLURM.",
    )
    setup: str = _setting(
        "", "Shell line that runs in each job before the step, for example `module load cuda`."
    )
    no_efficiency: bool = _setting(False, "Don't print what was asked for and used, per rule, at the end.")

    def __post_init__(self) -> None:
        """Snakemake makes these when this executor was chosen, and before it makes groups."""
        from .grouping import keep_groups

        keep_groups(Path(self.folder))

    def check(self) -> None:
        """Raise one error that names every impossible setting."""
        floors = {
            "keep_days": 0,
            "array_size": 1,
            "array_parallelism": 1,
            "collect_seconds": 0,
            "submissions_per_minute": 1,
            "command_timeout_s": 1,
            "patience_min": 0,
            "requeues": 0,
            "signal_delay_s": 0,
        }
        wrong = [
            f"--submitit-{name.replace('_', '-')} must be at least {least}, got {getattr(self, name)}"
            for name, least in floors.items()
            if getattr(self, name) < least
        ]
        for name, known in (("cluster", ("slurm", "local", "debug")), ("on_interrupt", ("cancel", "leave"))):
            if getattr(self, name) not in known:
                flag = f"--submitit-{name.replace('_', '-')}"
                wrong.append(f"{flag} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        if wrong:
            raise WorkflowError("; ".join(wrong))
