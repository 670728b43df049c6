"""Time and peak memory of curvature, relative to plain passes over the same examples.

    python benchmarks/curvature.py --threads 1 --clock cpu --json curvature.json

Time: while `compute_curvature` runs, its batches come from a generator that does the plain forward + backward pass (a
copy of the network in evaluation mode, the gradient of every parameter) between them, so both are measured in turn on the
same batch. What is compared is the best of the rounds of either; a first round, in which memory is touched for the first
time and kernels are chosen, is left out: it is paid once, not per batch. `ggn` is compared with 1 forward + K backward
passes, the cost of K times one backward pass to activations and one weight gradient's worth of products.

Memory: what the peak of a process of its own grows by, from after its imports and a first small product, over two batches:
the network, its batch and all that the work takes. It is compared with that of two training steps (forward, backward,
SGD with momentum 0.9). In RAM this is resident memory, on a GPU what is allocated.
"""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow_scripts"))

from common import (
    DEVICE,
    MEBI,
    NUM_CLASSES,
    SETTINGS,
    Problem,
    clock,
    free_mebibytes,
    markdown,
    peak_mebibytes,
    reset_peak,
)
from obtransfer.curvature.compute import compute_curvature
from obtransfer.curvature.examples import Head
from obtransfer.curvature.per_example.hooks import LayerHooks
from obtransfer.curvature.per_example.layers import select_layers
from obtransfer.curvature.plan import plan
from obtransfer.curvature.request import Request
from obtransfer.models.contexts import evaluation_mode

CASES = {
    "ef diagonal": Request("empirical_fisher", "diagonal"),
    "mc diagonal": Request("mc_fisher", "diagonal"),
    "ggn diagonal": Request("ggn", "diagonal"),
    "ef block 64": Request("empirical_fisher", "block64"),
    "mc kfac": Request("mc_fisher", "kfac"),
}
MEMORY_CASES = ("ef diagonal", "ggn diagonal")
Times = dict[str, list[float]]


def target(model: str, case: str) -> float | None:
    """The ratio to reach, if there is one."""
    if case in ("ef diagonal", "mc diagonal"):
        return 1.1 if "vit" in model else 1.3
    return {"ggn diagonal": 1.3, "ef block 64": 2.0}.get(case)


def head_of(problem: Problem) -> Head:
    """The problem's random head."""
    return Head(problem.head_weight, problem.head_bias)


def rounds(problem: Problem, case: Request, repeats: int, kind: str) -> Times:
    """Seconds per batch of the forward pass, the whole plain pass and the case, in turn."""
    read, model = clock(kind), copy.deepcopy(problem.model)
    times: Times = {"forward": [], "plain": [], "case": []}

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(repeats + 1):
            model.zero_grad()
            start = read()
            loss = problem.loss(model)
            middle = read()
            loss.backward()
            del loss
            times["forward"].append(middle - start)
            times["plain"].append(read() - start)
            start = read()
            yield problem.images, problem.labels
            times["case"].append(read() - start)

    compute_curvature(problem.model, head_of(problem), batches(), case)
    return {name: values[1:] for name, values in times.items()}


def to_activations(problem: Problem, repeats: int, kind: str) -> list[float]:
    """Seconds per batch of a forward pass and a backward pass that leaves out all weight gradients."""
    read, layers, times = clock(kind), select_layers(problem.model, None), []
    vector = torch.ones(len(problem.images), int(problem.model.num_features), device=DEVICE)
    weights = [module.weight for module in layers.values()]
    with evaluation_mode(problem.model, weights):
        for _ in range(repeats + 1):
            hooks = LayerHooks(layers, torch.float32, lambda *_: None)
            start = read()
            hooks.backward(hooks.forward(problem.model, problem.images), [vector])
            times.append(read() - start)
    return times[1:]


def measure(name: str, case: str, options: argparse.Namespace) -> dict[str, Any]:
    """One line of the table of times."""
    problem = Problem.of(name)
    needed = plan(problem.model, CASES[case]).total_bytes / MEBI
    line: dict[str, Any] = {"model": name, "case": case, "target": target(name, case)}
    if needed > 0.7 * free_mebibytes():
        return line | {"skipped": f"needs {needed:.0f} MiB, free are {free_mebibytes():.0f}"}
    times = rounds(problem, CASES[case], options.repeats, options.clock)
    forward, plain, ours = (min(times[key]) for key in ("forward", "plain", "case"))
    backward_passes = NUM_CLASSES if case == "ggn diagonal" else 1
    reference = forward + backward_passes * (plain - forward)
    floor = min(to_activations(problem, options.repeats, options.clock))
    size = SETTINGS[name].batch_size
    return line | {
        "plain_ms": 1000 * plain / size,
        "forward_share": forward / plain,
        "activations_share": floor / plain,
        "ratio": ours / reference,
        "to_plain": ours / plain,
        "times": times,
    }


def peak(name: str, case: str) -> float:
    """Run in a process of its own: MiB by which its peak grows."""
    torch.ones(64, 64, device=DEVICE) @ torch.ones(64, 64, device=DEVICE)
    import timm  # noqa: F401

    reset_peak()
    before = peak_mebibytes()
    problem = Problem.of(name)
    if case == "training step":
        optimiser = torch.optim.SGD(problem.model.parameters(), lr=1e-3, momentum=0.9)
        for _ in range(2):
            optimiser.zero_grad()
            problem.loss(problem.model).backward()
            optimiser.step()
    else:
        batches = [(problem.images, problem.labels)] * 2
        compute_curvature(problem.model, head_of(problem), batches, CASES[case])
    return peak_mebibytes() - before


def peak_elsewhere(name: str, case: str, threads: int) -> float:
    """`peak` of a new process."""
    command = [sys.executable, __file__, "--peak", name, case, "--threads", str(threads)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def show_times(lines: list[dict[str, Any]]) -> None:
    """Markdown."""
    header = [
        "model",
        "px",
        "batch",
        "case",
        "plain ms/example",
        "forward",
        "+ to activations",
        "ratio",
        "target",
    ]
    rows = []
    for line in lines:
        setting, wanted = SETTINGS[line["model"]], line["target"]
        row = [line["model"], str(setting.pixels), str(setting.batch_size), line["case"]]
        if "skipped" in line:
            rows.append([*row, "", "", "", line["skipped"], ""])
            continue
        of_plain = "" if line["case"] != "ggn diagonal" else f" ({line['to_plain']:.1f} × plain)"
        shares = [f"{line[key]:.2f}" for key in ("forward_share", "activations_share")]
        target_text = f"{wanted:.1f}" if wanted else "none"
        rows.append([*row, f"{line['plain_ms']:.2f}", *shares, f"{line['ratio']:.2f}{of_plain}", target_text])
    print(markdown(header, rows), flush=True)


def show_memory(lines: list[dict[str, Any]]) -> None:
    """Markdown."""
    header = ["model", "px", "batch", "case", "training step MiB", "case MiB", "ratio", "target"]
    rows = [
        [
            line["model"],
            str(SETTINGS[line["model"]].pixels),
            str(SETTINGS[line["model"]].batch_size),
            line["case"],
            f"{line['training_mib']:.0f}",
            f"{line['case_mib']:.0f}",
            f"{line['case_mib'] / line['training_mib']:.2f}",
            "1.3",
        ]
        for line in lines
    ]
    print(markdown(header, rows), flush=True)


def main(options: argparse.Namespace) -> None:
    """Measure, print, store."""
    print(
        f"torch {torch.__version__}, {DEVICE.type}, {options.threads} thread(s), {options.clock} time, best of "
        f"{options.repeats} interleaved rounds; forward and activations as shares of plain\n",
        flush=True,
    )
    times = []
    for name in options.models:
        for case in options.cases:
            times.append(measure(name, case, options))
            print(f"{name}, {case}: {times[-1].get('ratio', times[-1].get('skipped'))}", file=sys.stderr)
    show_times(times)
    memory = []
    for name in options.models if not options.no_memory else ():
        training = peak_elsewhere(name, "training step", options.threads)
        for case in MEMORY_CASES:
            found = peak_elsewhere(name, case, options.threads)
            memory.append({"model": name, "case": case, "training_mib": training, "case_mib": found})
    if memory:
        print()
        show_memory(memory)
    if options.json:
        settings = {"threads": options.threads, "clock": options.clock, "torch": torch.__version__}
        options.json.write_text(json.dumps(settings | {"times": times, "memory": memory}, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peak", nargs=2, metavar=("MODEL", "CASE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.peak:
        print(peak(*arguments.peak))
    else:
        main(arguments)
