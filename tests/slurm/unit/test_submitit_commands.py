"""What SLURM's commands print, what a submission inherits, and the sbatch file."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from snakemake_executor_plugin_submitit.cluster import commands
from snakemake_executor_plugin_submitit.cluster.base import Batch, CommandError, Request, Seen, Unclear
from snakemake_executor_plugin_submitit.cluster.commands import NoAccounting
from snakemake_executor_plugin_submitit.cluster.slurm import SlurmCluster, make_executor, read_job_id
from snakemake_executor_plugin_submitit.job.step import Step
from snakemake_executor_plugin_submitit.settings import ExecutorSettings

from .conftest import FakeCluster


def test_squeue_lines() -> None:
    text = "7|RUNNING|n1|None|note\n8_2|PENDING||Resources|a|b\nslurm_load_jobs error: x\n9|CANCELLED||None|(null)\n\n"
    assert commands.parse_squeue(text) == {
        "7": Seen("RUNNING", "n1", "", "", "note"),
        "8_2": Seen("PENDING", "", "Resources", "", "a|b"),
        "9": Seen("CANCELLED", "", "", "", "(null)"),
    }


def test_sacct_lines() -> None:
    text = (
        "7|CANCELLED by 0|n1|0:15|None\n7.batch|FAILED|n1|1:0|\n8_3|OUT_OF_ME+|n2|0:125|OutOfMemory\n"
        "8_[4-9]|PENDING|None assigned|0:0|Priority\n"
    )
    assert commands.parse_sacct(text) == {
        "7": Seen("CANCELLED", "n1", "", "0:15"),
        "8_3": Seen("OUT_OF_ME", "n2", "OutOfMemory", "0:125"),
    }


def test_a_submission_inherits_nothing_of_the_job_it_is_made_in() -> None:
    environment = {
        "SLURM_JOB_ID": "1", "SLURM_CONF": "/etc/slurm.conf", "SLURM_CLUSTERS": "c", "SLURMD_NODENAME": "n1",
        "SRUN_DEBUG": "1", "SQUEUE_PARTITION": "p", "SBATCH_ACCOUNT": "me", "PMI_RANK": "0", "PATH": "/bin", "MY_SLURM_X": "1",
    }  # fmt: skip
    assert commands.leaks(environment) == [
        "PMI_RANK",
        "SLURMD_NODENAME",
        "SLURM_JOB_ID",
        "SQUEUE_PARTITION",
        "SRUN_DEBUG",
    ]


@pytest.mark.parametrize(
    ("cancelled", "alive", "words"),
    [
        (["7_0", "7_1", "8"], ["7_0", "7_1", "8"], ["7", "8"]),
        (["7_0"], ["7_0", "7_1"], ["7_0"]),
        (["7_0", "7_1"], ["7_0", "7_1", "7_2", "9_0"], ["7_0", "7_1"]),
    ],
)
def test_whole_arrays_are_cancelled_by_one_word(
    cancelled: list[str], alive: list[str], words: list[str]
) -> None:
    assert commands.whole_arrays(cancelled, alive) == words


def test_a_thousand_jobs_take_two_calls_of_scancel(cluster: FakeCluster) -> None:
    assert commands.scancel([str(number) for number in range(1000)], 10) == 2
    assert len(cluster.calls("scancel")) == 2


def test_commands_fail_with_a_reason(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.control("fail_squeue", "slurm_load_jobs error: Unable to contact slurm controller")
    with pytest.raises(CommandError, match="status 1: slurm_load_jobs error: Unable to contact"):
        commands.squeue(10)
    cluster.control("fail_squeue", None)
    cluster.control("delay_squeue", "5")
    with pytest.raises(CommandError, match=r"no answer within 0\.5 s"):
        commands.squeue(0.5)
    cluster.control("no_accounting")
    with pytest.raises(NoAccounting):
        commands.sacct(["7"], 10)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CommandError, match="not on this machine"):
        commands.squeue(10)


def test_no_slurm_here_says_how_to_try_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CommandError, match="--submitit-cluster local"):
        SlurmCluster(ExecutorSettings())


@pytest.mark.parametrize(
    ("asked", "cluster_has", "size"), [(1000, 1001, 1000), (1000, 20, 20), (50, 1001, 50), (50, 0, 1)]
)
def test_arrays_are_as_long_as_both_allow(
    asked: int, cluster_has: int, size: int, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "limits", lambda _: (cluster_has, 30.0))
    assert SlurmCluster(ExecutorSettings(array_size=asked)).max_batch() == size


@pytest.mark.parametrize(
    "answer", ["83\n", "83;cluster\n", "Submitted batch job 83\n", "3 jobs are yours\n83;cluster-1.a\n"]
)
def test_sbatch_says_the_id(answer: str) -> None:
    assert read_job_id(answer) == "83"


@pytest.mark.parametrize("answer", ["", "\n", "Auftrag 83 abgeschickt\n", "83\n84\n", "job 83"])
def test_an_answer_without_an_id_is_no_refusal(answer: str) -> None:
    with pytest.raises(Unclear, match="must print a job id"):
        read_job_id(answer)


def test_the_record_of_a_refused_request_is_no_job(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def squeue(_: float) -> dict[str, Seen]:
        comments = ("token", "token", "other")
        found = (Seen("FAILED", "", "BadConstraints"), Seen("FAILED", "n1"), Seen("RUNNING", "n1"))
        pairs = zip(found, comments, strict=True)
        return {f"7_{i}": replace(s, comment=f"snakemake-submitit:{c}") for i, (s, c) in enumerate(pairs)}

    monkeypatch.setattr(commands, "squeue", squeue)
    assert SlurmCluster(ExecutorSettings()).find("token") == {1: "7_1"}


GOLDEN_ARRAY = """\
#!/bin/bash

# Parameters
#SBATCH --account=me
#SBATCH --array=0-1%2
#SBATCH --comment=snakemake-submitit:token
#SBATCH --constraint='a100|h100'
#SBATCH --cpus-per-task=2
#SBATCH --dependency=afterany:5:6_1
#SBATCH --exclude=n1
#SBATCH --exclusive
#SBATCH --gres=gpu:a100:1
#SBATCH --job-name=finetune
#SBATCH --mem=4000M
#SBATCH --nodes=1
#SBATCH --open-mode=append
#SBATCH --output='CWD/batches/100%%used it'"'"'s here/%A_%a.out'
#SBATCH --partition=gpu
#SBATCH --qos=short
#SBATCH --requeue
#SBATCH --signal=USR2@120
#SBATCH --time=90

# setup
module load cuda

# command
export SUBMITIT_EXECUTOR=slurm
exec PYTHON -u -m snakemake_executor_plugin_submitit.job.program STEPS
"""
GOLDEN_CHECKPOINT = """\
#!/bin/bash

# Parameters
#SBATCH --comment=snakemake-submitit:token
#SBATCH --cpus-per-task=1
#SBATCH --job-name=train
#SBATCH --nodes=1
#SBATCH --open-mode=append
#SBATCH --output=CWD/b/%j.out
#SBATCH --requeue
#SBATCH --signal=USR2@120
#SBATCH --time=60

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output STDOUT --cpu-bind=none --cpus-per-task=1 --output=CWD/b/%j.out PYTHON -u -m snakemake_executor_plugin_submitit.job.program STEPS
"""


def sbatch_text(
    folder: str, batch_size: int, request: Request, settings: ExecutorSettings, **more: object
) -> str:
    step = Step("true", ".", "log", "trace")
    batch = Batch("token", folder=Path(folder), request=request, steps=(step,) * batch_size, **more)
    executor = make_executor(batch, settings)
    if batch_size > 1:
        executor.parameters["map_count"] = batch_size
    text: str = executor._make_submission_file_text(executor._submitit_command_str, "")
    text = text.replace(sys.executable, "PYTHON").replace(
        str(Path(folder).absolute() / "%j_0_log.out"), "STDOUT"
    )
    text = re.sub(r"--output \S*_%t_log.out", "--output STDOUT", text).replace(str(Path.cwd()), "CWD")
    return re.sub(r"(submitit\.job\.program) .*/steps.jsonl'?$", r"\1 STEPS", text, flags=re.MULTILINE)


def test_golden_array(cluster: FakeCluster) -> None:
    request = Request(
        cpus=2, runtime_min=90, mem_mb=4000, gpus=1, gpu_model="a100", partition="gpu", account="me", qos="short",
        constraint="a100|h100", extra=(("exclude", "n1"), ("exclusive", True)),
    )  # fmt: skip
    settings = ExecutorSettings(setup="module load cuda")
    text = sbatch_text(
        "batches/100%used it's here", 2, request, settings, name="finetune", after=("5", "6_1")
    )
    assert text == GOLDEN_ARRAY


def test_golden_checkpoint(cluster: FakeCluster) -> None:
    request = Request(runtime_min=60, checkpoint=True)
    assert sbatch_text("b", 1, request, ExecutorSettings(), name="train") == GOLDEN_CHECKPOINT


def test_several_tasks_leave_srun_to_the_step(cluster: FakeCluster) -> None:
    request = Request(runtime_min=60, checkpoint=True, nodes=2, tasks=8, mem_mb_per_cpu=500, gres="shard:1")
    text = sbatch_text("b", 1, request, ExecutorSettings(), name="mpi")
    for line in ("--ntasks=8", "--nodes=2", "--signal=B:USR2@120", "--mem-per-cpu=500M", "--gres=shard:1"):
        assert f"#SBATCH {line}\n" in text
    assert "srun" not in text and "exec PYTHON" in text


def test_sbatch_runs_without_the_leaks_and_with_a_time_limit(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    batch = Batch("token", "name", Path("b"), Request(), (Step("true", ".", "log", "trace"),))
    words = make_executor(batch, ExecutorSettings())._make_submission_command(Path("file.sh"))
    assert words[-5:] == ["timeout", "60", "sbatch", "--parsable", "file.sh"]
    assert words[words.index("SLURM_JOB_ID") - 1] == "-u" and "SLURM_CONF" not in words
    assert os.environ["SLURM_JOB_ID"] == "1"
