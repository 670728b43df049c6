"""Execute one step in this process: its arguments, its log, its errors and its times."""

from __future__ import annotations

import inspect
import json
import os
import resource
import runpy
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, TypedDict

from obtransfer.errors import ObtransferError
from obtransfer.runtime.batch_size import NOTES
from obtransfer.runtime.device import device, use_threads, warn_of_idle_gpu


class StepRequest(TypedDict):
    """What a step is called with and where it reports; goes to the warm process as JSON.

    Attributes:
        script: the file of the step.
        function: the name of the step in it.
        rule: the rule's name.
        wildcards: of the job.
        inputs: paths, in the rule's order.
        files: inputs and outputs by name.
        values: wildcards, params and threads by name.
        log: the job's log.
        threads: the job's number of threads.
        started: when the job's process began, in seconds since the epoch.
    """

    script: str
    function: str
    rule: str
    wildcards: dict[str, str]
    inputs: list[str]
    files: dict[str, str | list[str]]
    values: dict[str, Any]
    log: str
    threads: int
    started: float


def execute(request: StepRequest, function: Callable[..., None] | None = None) -> int:
    """Run a request and return its exit status; output goes to the job's log.

    Args:
        request: made by `obtransfer.runtime.step`.
        function: the step; None to read it from its script.
    """
    terminal = os.dup(2)
    Path(request["log"]).parent.mkdir(parents=True, exist_ok=True)
    with open(request["log"], "w", buffering=1, encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        begun = time.time()
        os.environ[NOTES] = str(_notes_of(request))
        try:
            warn_of_idle_gpu()
            _call(request, function)
        except ObtransferError as error:
            return _fail(terminal, request, f"{error}\n")
        except Exception:  # noqa: BLE001  the one place where anything unforeseen must become a log and a status
            return _fail(terminal, request, traceback.format_exc())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
        _write_times(request, begun)
    return 0


def _call(request: StepRequest, function: Callable[..., None] | None) -> None:
    if function is None:
        function = runpy.run_path(request["script"])[request["function"]]
    use_threads(request["threads"])
    arguments = {name: _as_path(value) for name, value in request["files"].items()} | request["values"]
    wanted = inspect.signature(function).parameters
    if "made" in wanted:
        arguments["made"] = _made(request)
    function(**{name: _typed(arguments[name], parameter.annotation) for name, parameter in wanted.items()})


def _typed(value: Any, annotation: Any) -> Any:
    """A parameter that the step declares as a dataclass comes from the rule as a mapping."""
    if not (isinstance(value, dict) and isinstance(annotation, type) and is_dataclass(annotation)):
        return value
    return annotation.read(value) if hasattr(annotation, "read") else annotation(**value)


def _notes_of(request: StepRequest) -> Path:
    """The file beside the rule's logs in which its steps note the batch sizes that fit a backbone."""
    log, name = Path(request["log"]), request["wildcards"].get("backbone", "all")
    folder = next((path for path in log.parents if path.name == request["rule"]), log.parent)
    return folder / f"{name}.batch_sizes.json"


def _made(request: StepRequest) -> dict[str, Any]:
    """The provenance of what the step writes."""
    from obtransfer.artifacts import stored_digest
    from obtransfer.runtime.provenance import git_commit, versions

    artefacts = [path for path in request["inputs"] if path.endswith((".safetensors", ".csv"))]
    return {
        "rule": request["rule"],
        "wildcards": request["wildcards"],
        "settings": {k: v for k, v in request["values"].items() if k not in request["wildcards"]},
        "inputs": {path: stored_digest(path) for path in artefacts},
        "git_commit": git_commit(),
        "versions": versions(),
        "device": device(),
    }


def _fail(terminal: int, request: StepRequest, message: str) -> int:
    """Write the whole message to the log and its end to the terminal."""
    sys.stderr.write(message)
    shown = message if message.count("\n") < 12 else "...\n" + "\n".join(message.splitlines()[-10:]) + "\n"
    named = " ".join(f"{key}={value}" for key, value in request["wildcards"].items())
    os.write(terminal, f"\n{request['rule']} {named} failed:\n{shown}Log: {request['log']}\n".encode())
    return 1


def _write_times(request: StepRequest, begun: float) -> None:
    """Next to the log: seconds until the step's own work began, of the work, of CPU, and the peak memory."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    times = {
        "rule": request["rule"],
        "startup_seconds": round(begun - request["started"], 3),
        "work_seconds": round(time.time() - begun, 3),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 3),
        "max_rss_mb": usage.ru_maxrss // 1024,
        "device": device(),
    }
    Path(request["log"]).with_suffix(".times.json").write_text(json.dumps(times) + "\n", encoding="utf-8")


def _as_path(value: str | list[str]) -> Path | list[Path] | None:
    """A path, several, or None for an input that the job does not have."""
    return Path(value) if isinstance(value, str) else [Path(item) for item in value] or None
