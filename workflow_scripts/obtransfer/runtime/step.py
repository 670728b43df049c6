"""Run one step of the workflow: from Snakemake's job to a typed function, its log, its errors and its times.

A step script is a function whose parameters carry the names of the rule's inputs, outputs, params and wildcards
(files arrive as `Path` or lists of `Path`), and one call of `run_step`. A parameter named `made` receives the
artefact's provenance, one named `threads` the rule's threads.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import resource
import runpy
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from obtransfer.errors import ObtransferError
from obtransfer.runtime import warm
from obtransfer.runtime.batch_size import NOTES

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_GPU_VARIABLES = ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "CUDA_VISIBLE_DEVICES")


def run_step(function: Callable[..., None], snakemake: Any, *, preload: Sequence[str] = ()) -> None:
    """Call `function` with what the job gives it, and leave with its exit status.

    Args:
        function: the step, defined at the top level of its script.
        snakemake: the object Snakemake puts into a script.
        preload: heavy packages the step imports; they come ready-made from a warm process where that is possible
            (see `obtransfer.runtime.warm`).
    """
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(snakemake.threads)))
    request = _request(function, snakemake)
    if preload and warm.possible():
        sys.exit(warm.run(request, preload))
    for module in preload:
        importlib.import_module(module)
    sys.exit(execute(request, function))


def execute(request: dict[str, Any], function: Callable[..., None] | None = None) -> int:
    """Run a request in this process and return its exit status; output goes to the job's log."""
    terminal = os.dup(2)
    Path(request["log"]).parent.mkdir(parents=True, exist_ok=True)
    with open(request["log"], "w", buffering=1, encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        begun = time.time()
        os.environ[NOTES] = str(_notes_of(request))
        try:
            _warn_of_idle_gpu()
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


def _call(request: dict[str, Any], function: Callable[..., None] | None) -> None:
    if function is None:
        function = runpy.run_path(request["script"])[request["function"]]
    _use_threads(request["threads"])
    arguments = {name: _as_path(value) for name, value in request["files"].items()} | request["values"]
    wanted = inspect.signature(function).parameters
    if "made" in wanted:
        arguments["made"] = _made(request)
    function(**{name: arguments[name] for name in wanted})


def _notes_of(request: dict[str, Any]) -> Path:
    """Beside the logs of the rule: what its steps find out about a backbone and tell the next ones."""
    log, name = Path(request["log"]), request["wildcards"].get("backbone", "all")
    folder = next((path for path in log.parents if path.name == request["rule"]), log.parent)
    return folder / f"{name}.batch_sizes.json"


def _use_threads(count: int) -> None:
    """For the libraries that are loaded: those of a warm process have read the environment of whoever started it.

    The last bits of a product depend on the number of threads, so it must be that of the job.
    """
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
    if "numpy" in sys.modules:
        from threadpoolctl import threadpool_limits

        threadpool_limits(count)


def _request(function: Callable[..., None], snakemake: Any) -> dict[str, Any]:
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


def _made(request: dict[str, Any]) -> dict[str, Any]:
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


def device() -> str:
    """``cuda`` where torch is loaded and sees a GPU that this job was given, else ``cpu``."""
    torch = sys.modules.get("torch")
    if torch is None or not _may_use_gpu():
        return "cpu"
    return "cuda" if torch.cuda.is_available() else "cpu"


def told_to_stop() -> Callable[[], bool]:
    """From now on the signals that ask a job to end soon are kept for the returned function to tell.

    USR2 and USR1 are SLURM's warnings of the time limit or of preemption, TERM is what `kill` and `scancel` send.
    """
    told: list[
        int
    ] = []  # no threading.Event: a second signal during its `set` would wait for the first for ever
    for number in warm.SIGNALS:
        signal.signal(number, lambda number, _: told.append(number))
    return lambda: bool(told)


def _may_use_gpu() -> bool:
    """Outside SLURM always; inside, only with one allocated: not every cluster hides the GPUs of other jobs."""
    return "SLURM_JOB_ID" not in os.environ or any(os.environ.get(name) for name in _GPU_VARIABLES)


def _warn_of_idle_gpu() -> None:
    """An allocated GPU that the step computes without is told, not passed over for days."""
    torch = sys.modules.get("torch")
    if torch is not None and os.environ.get("SLURM_JOB_GPUS") and not torch.cuda.is_available():
        print(
            f"warning: SLURM gave this job GPU {os.environ['SLURM_JOB_GPUS']}, but torch {torch.__version__} sees none, so "
            "this step runs on the CPU. Is this a CPU build of torch, or is the node's driver too old for it?",
            file=sys.stderr,
        )


def _fail(terminal: int, request: dict[str, Any], message: str) -> int:
    """Tell the log everything and the terminal enough."""
    sys.stderr.write(message)
    shown = message if message.count("\n") < 12 else "...\n" + "\n".join(message.splitlines()[-10:]) + "\n"
    named = " ".join(f"{key}={value}" for key, value in request["wildcards"].items())
    os.write(terminal, f"\n{request['rule']} {named} failed:\n{shown}Log: {request['log']}\n".encode())
    return 1


def _write_times(request: dict[str, Any], begun: float) -> None:
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


def _as_path(value: str | list[str]) -> Path | list[Path] | None:
    """An input that the job does not have is None."""
    return Path(value) if isinstance(value, str) else [Path(item) for item in value] or None
