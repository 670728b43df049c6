"""From resources to requests, as tables."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import snakemake.api  # noqa: F401 - first: its modules import each other
from snakemake_executor_plugin_submitit.cluster.base import Request
from snakemake_executor_plugin_submitit.settings import ExecutorSettings
from snakemake_executor_plugin_submitit.submit.resources import (
    KNOWN,
    ResourceError,
    map_resources,
    request_of,
    split_options,
)

GOOD: list[tuple[dict[str, Any], int, Request]] = [
    ({}, 1, Request()),
    (
        {"_cores": 4, "_nodes": 1, "tmpdir": "/tmp", "disk_mb": 1000, "mem": "1 GB", "mem_mib": 954},
        4,
        Request(cpus=4),
    ),
    ({"runtime": 90, "mem_mb": 4000}, 0, Request(runtime_min=90, mem_mb=4000)),
    ({"mem_mb_per_cpu": "500"}, 2, Request(cpus=2, mem_mb_per_cpu=500)),
    ({"gpu": 2, "gpu_model": "a100"}, 1, Request(gpus=2, gpu_model="a100")),
    ({"gpu": 0, "gpu_model": "a100"}, 1, Request()),
    ({"gres": "gpu:1,shard:2"}, 1, Request(gres="gpu:1,shard:2")),
    ({"nodes": 2}, 1, Request(nodes=2, tasks=2)),
    ({"tasks": 8, "nodes": 2}, 1, Request(nodes=2, tasks=8)),
    ({"slurm_partition": "gpu", "slurm_account": "me"}, 1, Request(partition="gpu", account="me")),
    ({"qos": "short", "constraint": "a100|h100"}, 1, Request(qos="short", constraint="a100|h100")),
    ({"slurm_extra": "--exclude=n1 --exclusive"}, 1, Request(extra=(("exclude", "n1"), ("exclusive", True)))),
    ({"checkpoint": 1, "runtime": 60}, 1, Request(checkpoint=True, runtime_min=60)),
    ({"slurm_account": "", "qos": None}, 1, Request()),
]
BAD: list[tuple[dict[str, Any], list[str]]] = [
    ({"walltime": 3}, ["unknown resource 'walltime'"]),
    ({"runtime": "soon", "mem_mb": -1}, ["mem_mb must be a whole number", "runtime must be a whole number"]),
    ({"mem_mb": 100, "mem_mb_per_cpu": 100}, ["mem_mb and mem_mb_per_cpu contradict"]),
    ({"gpu": 1, "gres": "gpu:1"}, ["gpu and gres contradict"]),
    ({"gpu_model": "a100"}, ["gpu_model needs gpu"]),
    ({"tasks": 1, "nodes": 2}, ["tasks=1 can't fill nodes=2"]),
    ({"checkpoint": 1}, ["checkpoint needs runtime"]),
    ({"slurm_extra": "-x n1"}, ["takes long options"]),
    ({"slurm_extra": "--array=1-3"}, ["can't set --array"]),
    ({"slurm_extra": "--comment='open"}, ["can't be read"]),
    ({"walltime": 3, "queue": "x", "gpu": 1, "gres": "gpu:1"}, ["'queue'", "'walltime'", "gpu and gres"]),
]


@pytest.mark.parametrize(("resources", "threads", "request_"), GOOD)
def test_resources_become_this_request(resources: dict[str, Any], threads: int, request_: Request) -> None:
    assert map_resources(resources, threads) == request_


@pytest.mark.parametrize(("resources", "messages"), BAD)
def test_wrong_resources_are_all_named_with_the_known_ones(
    resources: dict[str, Any], messages: list[str]
) -> None:
    with pytest.raises(ResourceError) as raised:
        map_resources(resources, 1)
    for part in [*messages, *KNOWN]:
        assert part in str(raised.value)


def test_what_the_scheduler_counts_is_ignored() -> None:
    assert map_resources({"licences": 1}, 1, ignored={"licences"}) == Request()


@pytest.mark.parametrize(
    ("resources", "defaulted", "request_"),
    [
        ({"mem_mb": 1000, "mem_mb_per_cpu": 50}, {"mem_mb"}, Request(mem_mb_per_cpu=50)),
        ({"mem_mb": 1000, "mem_mb_per_cpu": 50}, {"mem_mb_per_cpu"}, Request(mem_mb=1000)),
        ({"mem_mb": 1000}, {"mem_mb"}, Request(mem_mb=1000)),
    ],
)
def test_a_rules_own_entry_beats_a_default(
    resources: dict[str, Any], defaulted: set[str], request_: Request
) -> None:
    assert map_resources(resources, 1, defaulted=defaulted) == request_


def test_options_with_a_space_before_their_value() -> None:
    assert split_options("--exclude n1,n2 --licenses='a b'") == {"exclude": "n1,n2", "licenses": "a b"}


def test_the_journal_gets_only_what_was_asked_for() -> None:
    request = Request(cpus=2, extra=(("exclude", "n1"),))
    assert request.as_dict() == {"cpus": 2, "extra": [["exclude", "n1"]]}


def test_resources_limits_hide_unknown_names_only() -> None:
    """`--resources gpu=1` (of a group, say) bounds a resource that SLURM is still to be asked for."""
    rule = SimpleNamespace(resources={})
    resources = {"gpu": 1, "mem_mb": 500, "licenses": 3, "_cores": 2, "tmpdir": "/tmp"}
    job = SimpleNamespace(resources=resources, threads=2, rule=rule, is_group=lambda: False)
    limits = {"gpu": 1, "mem_mb": 500, "licenses": 9, "_cores": 64, "_nodes": 64}
    workflow = SimpleNamespace(global_resources=limits, resource_settings=SimpleNamespace())
    asked = request_of(job, workflow, ExecutorSettings())
    assert (asked.gpus, asked.mem_mb, asked.cpus) == (1, 500, 2)
    workflow.global_resources = {"gpu": 1}
    with pytest.raises(ResourceError, match="unknown resource 'licenses'"):
        request_of(job, workflow, ExecutorSettings())
