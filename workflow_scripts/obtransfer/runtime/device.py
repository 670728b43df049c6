"""What a step computes with: the GPU that its job was given, and the job's number of threads."""

from __future__ import annotations

import os
import sys

_GPU_VARIABLES = ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "CUDA_VISIBLE_DEVICES")


def device() -> str:
    """``cuda`` if torch is loaded and sees a GPU that this job was given, else ``cpu``."""
    torch = sys.modules.get("torch")
    if torch is None or not _may_use_gpu():
        return "cpu"
    return "cuda" if torch.cuda.is_available() else "cpu"


def warn_of_idle_gpu() -> None:
    """Print a warning if SLURM gave this job a GPU that torch does not see."""
    torch = sys.modules.get("torch")
    if torch is not None and os.environ.get("SLURM_JOB_GPUS") and not torch.cuda.is_available():
        print(
            f"warning: SLURM gave this job GPU {os.environ['SLURM_JOB_GPUS']}, but torch {torch.__version__} sees none, so "
            "this step runs on the CPU. Is this a CPU build of torch, or is the node's driver too old for it?",
            file=sys.stderr,
        )


def use_threads(count: int) -> None:
    """Set the number of threads of the loaded libraries.

    The libraries of a warm process have read the environment of the step that started it. The last bits of a product depend on
    the number of threads, so it must be that of the job.
    """
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
    if "numpy" in sys.modules:
        from threadpoolctl import threadpool_limits

        threadpool_limits(count)


def _may_use_gpu() -> bool:
    """Outside SLURM, always; inside, only if a GPU was allocated, because some clusters do not hide the GPUs of other jobs."""
    return "SLURM_JOB_ID" not in os.environ or any(os.environ.get(name) for name in _GPU_VARIABLES)
