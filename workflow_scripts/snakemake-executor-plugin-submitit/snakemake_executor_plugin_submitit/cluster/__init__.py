"""The places that run jobs: SLURM, or processes of this machine."""

from __future__ import annotations

from ..settings import ExecutorSettings
from .base import Cluster


def make_cluster(settings: ExecutorSettings) -> Cluster:
    """The cluster that the settings name; raises CommandError if it is not here."""
    if settings.cluster == "slurm":
        from .slurm import SlurmCluster

        return SlurmCluster(settings)
    from .local import DebugCluster, LocalCluster

    return LocalCluster(settings) if settings.cluster == "local" else DebugCluster(settings)
