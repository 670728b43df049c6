"""The `--submitit-*` settings.

Snakemake makes the command line from the annotations, which must be types and not strings. So this file has no
`from __future__ import annotations`.
"""

from dataclasses import dataclass, field, fields
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
    """What a user can set. Each field is an option of the command line and of a profile."""

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
        "Maximum number of jobs in one sbatch (the cluster's MaxArraySize also limits it); 1 submits each job alone.",
    )
    array_parallelism: int = _setting(256, "Maximum number of tasks of one array that run at the same time.")
    collect_seconds: float = _setting(
        0.5, "Seconds to wait for more jobs to become ready before submitting, so that they share one sbatch."
    )
    submissions_per_minute: int = _setting(60, "Maximum number of sbatch calls per minute.")
    command_timeout_s: int = _setting(
        60, "A SLURM command that takes longer than this (in seconds) counts as failed."
    )
    patience_min: int = _setting(
        30,
        "Minutes that SLURM may refuse submissions before the step fails, and minutes after which a job counts as lost that "
        "SLURM no longer knows and that left no sign of its end.",
    )
    requeues: int = _setting(
        10,
        "How often a job may start again after preemption, node failure or a checkpoint at its time limit.",
    )
    signal_delay_s: int = _setting(
        120,
        "Steps with the resource checkpoint=1 receive SIGUSR2 this many seconds before their time limit (SLURM may send it "
        "up to a minute earlier).",
    )
    on_interrupt: str = _setting(
        "cancel",
        "What Ctrl-C does to queued and running jobs: cancel them, or leave them for the next run to adopt.",
        choices=["cancel", "leave"],
    )
    ignore_resources: str = _setting(
        "",
        "Comma-separated names of resources that only Snakemake's scheduler counts; SLURM does not get them.",
    )
    setup: str = _setting(
        "", "Shell line that runs in each job before the step, for example `module load cuda`."
    )
    no_efficiency: bool = _setting(False, "Do not print at the end what each rule requested and used.")

    def __post_init__(self) -> None:
        """Snakemake makes the settings of the chosen executor before it makes groups: see `workarounds`."""
        from .workarounds import keep_groups

        keep_groups(Path(self.folder))

    def check(self) -> None:
        """Raise one WorkflowError that names every impossible setting."""
        floors = {
            "array_size": 1,
            "array_parallelism": 1,
            "submissions_per_minute": 1,
            "command_timeout_s": 1,
        }
        wrong = []
        for one in fields(self):
            flag, value = f"--submitit-{one.name.replace('_', '-')}", getattr(self, one.name)
            known = one.metadata.get("choices")
            if known and value not in known:
                wrong.append(f"{flag} must be one of {', '.join(known)}; got {value!r}")
            elif one.type in (int, float) and value < floors.get(one.name, 0):
                wrong.append(f"{flag} must be at least {floors.get(one.name, 0)}; got {value}")
        if wrong:
            raise WorkflowError(". ".join(wrong))
