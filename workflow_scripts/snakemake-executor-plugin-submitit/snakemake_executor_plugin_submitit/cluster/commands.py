"""SLURM's commands: run with a time limit, in a clean environment, parsed into plain records."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence

from .base import KILL_WAIT_S, CommandError, Seen

# The controller may itself run in a SLURM job, whose variables would change the jobs it submits. Those kept name the cluster.
_KEPT = {"SLURM_CONF", "SLURM_CLUSTERS"}
_LEAKS = re.compile(r"(SLURM_|SLURMD_|SRUN_|SQUEUE_|SACCT_|SCANCEL_|PMI_|PMIX_)")
_SQUEUE_FORMAT = "%i|%T|%N|%r|%k"
_SACCT_FORMAT = "JobID,State,NodeList,ExitCode,Reason"


class NoAccounting(CommandError):
    """This cluster keeps no accounting, so asking again is useless."""


def leaks(environment: Mapping[str, str]) -> list[str]:
    """The variables that a submission must not inherit."""
    return sorted(name for name in environment if _LEAKS.match(name) and name not in _KEPT)


def run(command: Sequence[str], timeout_s: float) -> str:
    """A command's standard output.

    Raises:
        CommandError: with the command's name and its message.
    """
    unwanted = leaks(os.environ)
    environment = {name: value for name, value in os.environ.items() if name not in unwanted}
    environment["LC_ALL"] = "C"
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            timeout=timeout_s,
            env=environment,
            stdin=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
        )
    except FileNotFoundError:
        raise CommandError(
            f"{command[0]} is not on this machine; run Snakemake on a login node of the cluster"
        ) from None
    except subprocess.TimeoutExpired:
        raise CommandError(f"{command[0]} gave no answer within {timeout_s:g} s") from None
    except OSError as error:
        raise CommandError(f"{command[0]} could not be started: {error}") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-500:]
        if "accounting" in said.lower() and "disabled" in said.lower():
            raise NoAccounting(said)
        raise CommandError(
            f"{command[0]} failed with status {done.returncode}: {said or 'it printed nothing'}"
        )
    return done.stdout


def squeue(timeout_s: float) -> dict[str, Seen]:
    """Every job of this user that SLURM has in memory, also those that ended minutes ago; one call."""
    text = run(
        ["squeue", "--me", "--noheader", "--array", "--states=all", f"--format={_SQUEUE_FORMAT}"], timeout_s
    )
    return parse_squeue(text)


def parse_squeue(text: str) -> dict[str, Seen]:
    """Job id → what squeue says; other lines are left out."""
    found = {}
    for line in text.splitlines():
        cells = line.split("|", 4)
        if len(cells) == 5 and cells[0][:1].isdigit():
            job, state, node, reason, comment = (cell.strip() for cell in cells)
            found[job] = Seen(_word(state), node, "" if reason == "None" else reason, "", comment)
    return found


def sacct(jobs: Sequence[str], timeout_s: float) -> dict[str, Seen]:
    """The accounting's view of `jobs` (one word for each array); one call.

    Raises:
        NoAccounting: if the cluster keeps none.
        CommandError: if there was no answer.
    """
    arrays = sorted({job.partition("_")[0] for job in jobs})
    fields = f"--format={_SACCT_FORMAT}"
    text = run(
        ["sacct", "--noheader", "--parsable2", "--allocations", fields, f"--jobs={','.join(arrays)}"],
        timeout_s,
    )
    return parse_sacct(text)


def parse_sacct(text: str) -> dict[str, Seen]:
    """Job id → what sacct says; steps and unexpanded array ranges are left out."""
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|", 4)]
        if len(cells) == 5 and re.fullmatch(r"\d+(_\d+)?", cells[0]):
            job, state, node, exit_code, reason = cells
            node = "" if node.startswith("None") else node
            found[job] = Seen(_word(state), node, "" if reason == "None" else reason, exit_code)
    return found


def scancel(jobs: Sequence[str], timeout_s: float, per_call: int = 500) -> int:
    """Cancel `jobs` with as few calls as the length of a command line allows; returns the number of calls."""
    calls = [jobs[first : first + per_call] for first in range(0, len(jobs), per_call)]
    for call in calls:
        run(["scancel", "--quiet", *call], timeout_s)
    return len(calls)


def whole_arrays(cancelled: Sequence[str], alive: Sequence[str]) -> list[str]:
    """`cancelled`, with the array's id instead of its tasks if all its living tasks are among them."""
    kept = {job.partition("_")[0] for job in set(alive) - set(cancelled)}
    return sorted({job if job.partition("_")[0] in kept else job.partition("_")[0] for job in cancelled})


def limits(timeout_s: float) -> tuple[int, float]:
    """The cluster's MaxArraySize (tasks of an array, 0 if arrays are switched off) and KillWait in seconds."""
    text = run(["scontrol", "show", "config"], timeout_s)
    found = {name: value for name, value in re.findall(r"(?m)^(MaxArraySize|KillWait)\s*=\s*(\d+)", text)}
    return int(found.get("MaxArraySize", 1001)), float(found.get("KillWait", KILL_WAIT_S))


def _word(state: str) -> str:
    return state.split()[0].rstrip("+").upper() if state.split() else ""
