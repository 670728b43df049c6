"""From a Snakemake job to its request, and the options of the Snakemake that runs inside it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from snakemake_interface_executor_plugins.settings import DeploymentMethod, SharedFSUsage

from .fingerprint import members
from .mapping import KNOWN, Request, map_resources
from .settings import ExecutorSettings


def in_job_options(workflow: Any) -> str:
    """Options that replace what Snakemake passes on; the last occurrence counts.

    Without the shared persistence, or the Snakemake inside the job overwrites the controller's note of the job's id: it
    gets a private one in its temporary folder. What else lies in that folder is named, so that it stays shared.
    """
    shared = sorted(
        (use for use in workflow.storage_settings.shared_fs_usage if use != SharedFSUsage.PERSISTENCE),
        key=str,
    )
    persistence = workflow.persistence
    words = (
        ["--shared-fs-usage", *(use.item_to_choice() for use in shared)]
        if shared
        else ["--shared-fs-usage", "none"]
    )
    words += ["--quiet", "progress", "rules", "host"]
    if workflow.execution_settings.shadow_prefix is None:
        words += ["--shadow-prefix", str(Path(persistence.shadow_path).parent)]
    methods = workflow.deployment_settings.deployment_method
    if DeploymentMethod.CONDA in methods:
        words += ["--conda-prefix", str(persistence.conda_env_path)]
    if DeploymentMethod.APPTAINER in methods:
        words += ["--apptainer-prefix", str(persistence.container_img_path)]
    return shlex.join(words)


def request_of(job: Any, workflow: Any, settings: ExecutorSettings) -> Request:
    """The job's request; unknown names that `--resources` counts are Snakemake's own.

    Raises:
        ResourceError: see `map_resources`.
    """
    ignored = {name.strip() for name in settings.ignore_resources.split(",") if name.strip()}
    counted = {str(name) for name in workflow.global_resources} - KNOWN.keys()
    resources = {name: value for name, value in job.resources.items() if isinstance(value, int | str)}
    known = _plain(resources)
    return map_resources(
        known, job.threads, ignored=ignored | counted, defaulted=_defaulted(job, workflow, known)
    )


def _plain(resources: dict[str, Any]) -> dict[str, Any]:
    # Values that only the node can know (Snakemake marks them) are strings of a special kind.
    return {name: value for name, value in resources.items() if type(value) in (int, str, bool)}


def _defaulted(job: Any, workflow: Any, resources: dict[str, Any]) -> set[str]:
    defaults = getattr(workflow.resource_settings, "_parsed_default_resources", None) or {}
    found = set()
    for name in resources:
        mine = {id(member.rule.resources.get(name)) for member in members(job)}
        if name in defaults and mine == {id(defaults.get(name))}:
            found.add(name)
    return found
