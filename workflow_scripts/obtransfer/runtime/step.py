"""From a job of Snakemake to a step: a typed function in a process of its own or of the warm process.

A step script is a function whose parameters carry the names of the rule's inputs, outputs, params and wildcards
(files arrive as `Path` or lists of `Path`), and one call of `run_step`. A parameter named `made` receives the
artefact's provenance, one named `threads` the rule's threads.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from obtransfer.runtime import warm
from obtransfer.runtime.execute import StepRequest, execute

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def run_step(function: Callable[..., None], snakemake: Any, *, preload: Sequence[str] = ()) -> None:
    """Call `function` with the job's values, and exit with its status.

    Args:
        function: the step, defined at the top level of its script.
        snakemake: the object Snakemake puts into a script.
        preload: heavy packages the step imports; a warm process has already imported them, where that is possible
            (see `obtransfer.runtime.warm`).
    """
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(snakemake.threads)))
    request = _request(function, snakemake)
    if preload and warm.possible():
        sys.exit(warm.run(request, preload))
    for module in preload:
        importlib.import_module(module)
    sys.exit(execute(request, function))


def _request(function: Callable[..., None], snakemake: Any) -> StepRequest:
    files = {name: _as_text(value) for name, value in [*snakemake.input.items(), *snakemake.output.items()]}
    values = {
        **dict(snakemake.wildcards.items()),
        **dict(snakemake.params.items()),
        "threads": snakemake.threads,
    }
    return {
        "script": function.__globals__["__file__"],  # Snakemake runs a copy, and names the original here
        "function": function.__name__,
        "rule": snakemake.rule,
        "wildcards": dict(snakemake.wildcards.items()),
        "inputs": [str(path) for path in snakemake.input],
        "files": files,
        "values": json.loads(json.dumps(values)),
        "log": str(snakemake.log[0]),
        "threads": snakemake.threads,
        "started": _process_start(),
    }


def _process_start() -> float:
    """When this process was started, in seconds since the epoch."""
    try:
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        return time.time()
    return time.time() - age


def _as_text(value: Any) -> str | list[str]:
    return str(value) if isinstance(value, str) else [str(item) for item in value]
