"""From a job's resources to its request: the only place that knows the resources' names."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from typing import Any

from ..cluster.base import Request
from ..settings import ExecutorSettings
from ..workarounds import default_resources
from .fingerprint import members


class ResourceError(ValueError):
    """Resources that are unknown, impossible or contradict each other; the message lists them all."""


KNOWN = {
    "runtime": "minutes (or a string such as 2h)",
    "mem_mb": "memory of a node, MB",
    "mem_mb_per_cpu": "memory of a CPU, MB; instead of mem_mb",
    "gpu": "GPUs of a node",
    "gpu_model": "kind of GPU, with gpu",
    "gres": "generic resources as SLURM writes them; instead of gpu",
    "nodes": "nodes",
    "tasks": "tasks over all nodes, for MPI",
    "slurm_partition": "partition",
    "slurm_account": "account",
    "qos": "quality of service",
    "constraint": "features a node must have",
    "slurm_extra": "further sbatch options, as on its command line",
    "checkpoint": "1: the step saves its state on SIGUSR2 and can resume from it",
}
# Snakemake's own, or other spellings that Snakemake has turned into one of the above.
SILENT = {
    "_cores", "_nodes", "_job_count", "tmpdir", "mem", "mem_mib", "disk", "disk_mb", "disk_mib", "threads",
}  # fmt: skip
_COUNTS = {"runtime", "mem_mb", "mem_mb_per_cpu", "gpu", "nodes", "tasks", "checkpoint"}
_EXCLUSIVE = (("mem_mb", "mem_mb_per_cpu"), ("gpu", "gres"))
# The plugin or submitit writes these; a second one would silently replace theirs.
_MANAGED = {
    "array", "chdir", "comment", "cpus-per-task", "error", "job-name", "mem", "mem-per-cpu", "nodes", "ntasks", "open-mode",
    "output", "parsable", "partition", "account", "requeue", "signal", "test-only", "time", "wait", "wrap",
}  # fmt: skip


def request_of(job: Any, workflow: Any, settings: ExecutorSettings) -> Request:
    """The job's request. Unknown names that `--resources` counts are left to Snakemake.

    Raises:
        ResourceError: see `map_resources`.
    """
    ignored = {name.strip() for name in settings.ignore_resources.split(",") if name.strip()}
    counted = {str(name) for name in workflow.global_resources} - KNOWN.keys()
    # Snakemake marks values that only the node can know as strings of a special type.
    plain = {name: value for name, value in job.resources.items() if type(value) in (int, str, bool)}
    return map_resources(
        plain, job.threads, ignored=ignored | counted, defaulted=_defaulted(job, workflow, plain)
    )


def _defaulted(job: Any, workflow: Any, names: Collection[str]) -> set[str]:
    defaults = default_resources(workflow)
    rules = [member.rule.resources for member in members(job)]
    return {name for name in names if name in defaults and all(r.get(name) is defaults[name] for r in rules)}


def map_resources(
    resources: Mapping[str, Any],
    threads: int,
    *,
    ignored: Collection[str] = (),
    defaulted: Collection[str] = (),
) -> Request:
    """One request from a job's resources.

    Args:
        resources: name → value as Snakemake evaluates it.
        threads: the job's threads, which become CPUs per task.
        ignored: names that only Snakemake's scheduler counts.
        defaulted: names whose value is a default (`--default-resources`): a rule's own entry overrides them.

    Raises:
        ResourceError: with every wrong entry, and the list of known names.
    """
    given = {
        name: value
        for name, value in resources.items()
        if name not in SILENT and name not in ignored and value not in (None, "")
    }
    for first, second in _EXCLUSIVE:
        for loser, winner in ((first, second), (second, first)):
            if loser in defaulted and winner in given and winner not in defaulted:
                given.pop(loser, None)
    wrong = [f"unknown resource {name!r}" for name in sorted(given) if name not in KNOWN]
    wrong += [f"{name} must be a whole number ≥ 0; got {given[name]!r}" for name in _bad_counts(given)]
    wrong += _contradictions(given)
    extra: dict[str, str | bool] = {}
    try:
        extra = split_options(str(given.get("slurm_extra", "")))
    except ResourceError as error:
        wrong.append(str(error))
    if wrong:
        known = "\n".join(f"  {name}: {text}" for name, text in KNOWN.items())
        raise ResourceError(
            "; ".join(wrong)
            + f".\nKnown resources:\n{known}\n"
            + "A resource that only Snakemake's scheduler counts belongs in --resources or --submitit-ignore-resources."
        )
    return _request(given, threads, extra)


def _request(given: Mapping[str, Any], threads: int, extra: Mapping[str, str | bool]) -> Request:
    def number(name: str) -> int | None:
        return int(given[name]) if name in given else None

    return Request(
        cpus=max(1, int(threads)),
        runtime_min=number("runtime") or None,
        mem_mb=number("mem_mb") or None,
        mem_mb_per_cpu=number("mem_mb_per_cpu") or None,
        gpus=number("gpu") or 0,
        gpu_model=str(given.get("gpu_model", "")) if given.get("gpu") else "",
        gres=str(given.get("gres", "")),
        nodes=number("nodes") or 1,
        tasks=number("tasks") or number("nodes") or 1,
        partition=str(given.get("slurm_partition", "")),
        account=str(given.get("slurm_account", "")),
        qos=str(given.get("qos", "")),
        constraint=str(given.get("constraint", "")),
        extra=tuple(sorted(extra.items())),
        checkpoint=bool(number("checkpoint")),
    )


def _bad_counts(given: Mapping[str, Any]) -> list[str]:
    def good(value: Any) -> bool:
        return (isinstance(value, int) and value >= 0) or (isinstance(value, str) and value.isdigit())

    return sorted(name for name in _COUNTS & set(given) if not good(given[name]))


def _contradictions(given: Mapping[str, Any]) -> list[str]:
    found = [f"{a} and {b} contradict each other" for a, b in _EXCLUSIVE if given.get(a) and given.get(b)]
    if given.get("gpu_model") and "gpu" not in given:
        found.append("gpu_model needs gpu (how many)")
    tasks, nodes = given.get("tasks"), given.get("nodes")
    if isinstance(tasks, int) and isinstance(nodes, int) and 0 < tasks < nodes:
        found.append(f"tasks={tasks} can't fill nodes={nodes}")
    if given.get("checkpoint") and "runtime" not in given:
        found.append("checkpoint needs runtime, or there is no time limit to warn of")
    return found


def split_options(text: str) -> dict[str, str | bool]:
    """`--exclude=n1 --exclusive` → {"exclude": "n1", "exclusive": True}; refuses options that the plugin writes itself.

    Raises:
        ResourceError: for anything but long options, or for a managed one.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ResourceError(f"slurm_extra {text!r} can't be read: {error}") from None
    options: dict[str, str | bool] = {}
    last = ""
    for word in words:
        if word.startswith("--"):
            last, equals, value = word[2:].partition("=")
            options[last] = value if equals else True
        elif last and options[last] is True:
            options[last] = word
        else:
            raise ResourceError(f"slurm_extra takes long options (--name=value); got {word!r}")
    managed = sorted(_MANAGED & set(options))
    if managed:
        raise ResourceError(
            f"slurm_extra can't set {', '.join('--' + name for name in managed)}: use the resource"
        )
    return options
