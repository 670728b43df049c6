"""What SLURM itself ends early: time limits, preemption, a dead node, a requeue by hand.

All of it takes minutes, so it happens at the same time, to one run of one workflow (and beside it a run that never gets on).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from cluster import Cluster
from patience import unit_s, wait_until

from .counted import RULE_ALL, Counted, python, rule

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm")]

# Counts epochs until a signal asks it to stop; then saves, which takes seconds, and goes on from there when it is started
# again. Only the first signal counts: SLURM may send several.
EPOCHS = """
import os, pathlib, signal, sys, time
name, output = sys.argv[1:3]
array = os.environ.get("SLURM_ARRAY_JOB_ID")
job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]
state = pathlib.Path(f"{name}.state")
epoch = int(state.read_text()) if state.exists() else 0
last = epoch + 10 if epoch else 10**9

asked = []
signal.signal(signal.SIGUSR2, lambda number, _: asked.append(number))
signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
first = epoch
while epoch < last:
    if asked:
        time.sleep(float(sys.argv[3]))
        if "hopeless" not in name:
            state.write_text(str(epoch))
        with open(os.environ["COUNTS"], "a") as counts:
            counts.write(f"{name}.told {job} {epoch}\\n")
        sys.exit(3)
    time.sleep(0.2)
    epoch += 1
    if epoch == first + 5:
        with open(os.environ["COUNTS"], "a") as counts:
            counts.write(f"{name} {job} {first}\\n")
pathlib.Path(output).write_text(str(epoch))
"""
RICH = ("--partition=high", "--gres=gpu:1", "--mem=100", "--nodelist=n2", "--output=/dev/null")
ON_N2 = "slurm_extra='--exclude=n1'"


@dataclass
class Story:
    """Two runs, what they printed, and how SLURM describes the jobs of both."""

    workflow: Counted
    output: str
    hopeless: Counted
    hopeless_output: str
    restarts: dict[str, int]

    def jobs(self, name: str) -> list[str]:
        """The job ids of a step's starts."""
        return [words[1] for words in self.workflow.lines() if words[0] == name]

    def once_without_a_word(self, name: str) -> None:
        """A step that had two starts under one id, of which the user hears only the end."""
        first, second = self.jobs(name)
        assert first == second and self.restarts[first] == 1
        assert f"rule {name} failed" not in self.output and f"Error in rule {name}" not in self.output
        assert self.output.count(f"(Rule: {name})") == 1


@pytest.fixture(scope="module")
def story(slurm: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Everything at once, in about two minutes."""
    folder = tmp_path_factory.mktemp("requeue")
    (folder / "epochs.py").write_text(EPOCHS)
    workflow = Counted(folder / "it's here", slurm, "--retries", "1", "--submitit-signal-delay-s", "10")
    hopeless = Counted(
        folder / "hopeless", slurm, "--submitit-requeues", "1", "--submitit-signal-delay-s", "25"
    )
    slurm.keep_jobs = True
    try:
        return _tell(slurm, folder, workflow, hopeless)
    finally:
        slurm.keep_jobs = False
        workflow.end_all()
        hopeless.end_all()
        slurm.command("scontrol", "update", "nodename=n2", "state=resume", check=False)


def _write(folder: Path, workflow: Counted, hopeless: Counted) -> None:
    names = ["moved", "patient", "limited", "hungry", "by_hand", "cheap"]
    epochs = folder / "epochs.py"
    minutes = str(1 + int(unit_s() / 5))  # they must have begun long before they are warned
    checkpoint = "checkpoint=1, slurm_extra='--exclude=n1"
    workflow.write(
        RULE_ALL.format(inputs=", ".join(f'"{name}"' for name in names))
        + rule("moved", "while [ ! -e go ]; do sleep 0.2; done; touch {output}")
        + rule(
            "patient",
            python(epochs, "patient", "patient", "3"),
            runtime=minutes,
            more=f"{checkpoint}'",
            counted=False,
        )
        + rule(
            "limited",
            "[ {resources.runtime} -ge 2 ] || sleep 3600; touch {output}",
            runtime="lambda wildcards, attempt: attempt",
            more=ON_N2,
        )
        + rule(
            "hungry",
            "[ {resources.mem_mb} -ge 200 ] || kill -9 $$; touch {output}",
            mem_mb="lambda wildcards, attempt: 100 * attempt",
            more=ON_N2,
        )
        + rule("by_hand", "[ -e requeued ] || sleep 3600; touch {output}", runtime="60", more=ON_N2)
        + rule(
            "cheap",
            python(epochs, "cheap", "cheap", "3"),
            more=f"{checkpoint}', slurm_partition='low', gpu=1",
            counted=False,
        )
    )
    hopeless.write(
        RULE_ALL.format(inputs='"hopeless"')
        + rule(
            "hopeless",
            python(epochs, "hopeless", "hopeless", "3"),
            runtime=minutes,
            more=f"{checkpoint}'",
            counted=False,
        )
    )


def _tell(slurm: Cluster, folder: Path, workflow: Counted, hopeless: Counted) -> Story:
    _write(folder, workflow, hopeless)
    # So that `moved` starts on n1, the only one that may: the others wait until n2 is back.
    slurm.command("scontrol", "update", "nodename=n2", "state=drain", "reason=test")
    run = workflow.start()
    workflow.wait_for("moved")
    slurm.kill_node("n1", jobs=True)
    slurm.command("scontrol", "update", "nodename=n2", "state=resume")
    other = hopeless.start()
    workflow.wait_for("by_hand", "cheap", "limited", "patient")
    (workflow.folder / "requeued").touch()
    slurm.command("scontrol", "requeue", workflow.job("by_hand"))
    slurm.command("sbatch", *RICH, "--wrap=sleep 2")
    wait_until(lambda: "down" in slurm.command("sinfo", "-hN", "-n", "n1", "-o", "%T"), slurm.queue)
    wait_until(lambda: workflow.begun()["moved"] == 2, slurm.queue, hopeless=slurm.stuck)
    slurm.start_node("n1")
    (workflow.folder / "go").touch()
    output = run.end(hopeless=lambda: _began_anew(workflow) or slurm.stuck())
    last_words = other.end(1)
    ids = {words[1] for words in workflow.lines()}
    # The accounting hears of ends late.
    wait_until(lambda: ids <= set(_starts(slurm)), lambda: f"{ids} {_starts(slurm)}")
    restarts = {job: count - 1 for job, count in _starts(slurm).items()}
    return Story(workflow, output, hopeless, last_words, restarts)


def _began_anew(workflow: Counted) -> str:
    """Without what it saved, a step counts for ever."""
    starts = Counter(words[0] for words in workflow.lines() if words[2:] == ["0"])
    lost = [name for name in ("patient", "cheap", "lenient") if starts[name] > 1]
    return f"{', '.join(lost)} began at epoch 0 again: the save was lost" if lost else ""


def _starts(slurm: Cluster) -> Counter[str]:
    """How often each job was started, by the accounting."""
    words = ("sacct", "-n", "-P", "-X", "--duplicates", "--starttime=now-1day", "--format=JobID")
    return Counter(slurm.command(*words).split())


def test_a_step_at_its_time_limit_goes_on_from_its_last_epoch(story: Story) -> None:
    first, told, second = [words for words in story.workflow.lines() if words[0].startswith("patient")]
    assert first[2] == "0" and int(told[2]) > 0 and second[2] == told[2]
    assert (story.workflow.folder / "patient").read_text() == str(int(told[2]) + 10)
    story.once_without_a_word("patient")


def test_a_step_that_never_gets_on_is_given_up(story: Story) -> None:
    told = [words[1] for words in story.hopeless.lines() if words[0] == "hopeless.told"]
    assert len(told) == 2 and told[0] == told[1]
    assert "not done after 1 restarts, no more are allowed: giving up" in story.hopeless_output
    assert story.hopeless_output.count("rule hopeless failed") == 1


def test_a_requeue_by_hand_is_waited_for(story: Story) -> None:
    story.once_without_a_word("by_hand")


def test_a_dead_node_costs_a_restart_on_another(story: Story, slurm: Cluster) -> None:
    story.once_without_a_word("moved")
    text = slurm.command(
        "sacct",
        "-n",
        "-P",
        "-X",
        "--duplicates",
        f"--jobs={story.jobs('moved')[0]}",
        "--format=NodeList,State",
    )
    assert text.splitlines() == ["n1|NODE_FAIL", "n2|COMPLETED"]


def test_a_preempted_step_saves_and_goes_on(story: Story) -> None:
    first, told, second = [words for words in story.workflow.lines() if words[0].startswith("cheap")]
    assert first[2] == "0" and int(told[2]) > 0 and second[2] == told[2]
    assert (story.workflow.folder / "cheap").read_text() == str(int(told[2]) + 10)
    story.once_without_a_word("cheap")


def test_a_time_out_is_called_by_its_name_and_tried_again_with_more_time(story: Story) -> None:
    assert "reached its time limit: it needs a larger runtime (TIMEOUT)" in story.output
    assert story.output.count("rule limited failed") == 1
    first, second = story.jobs("limited")
    assert first != second and story.restarts[second] == 0


def test_a_killed_step_is_called_out_of_memory_and_tried_again_with_more(story: Story) -> None:
    assert "most likely for its memory: it needs a larger mem_mb (OUT_OF_MEMORY)" in story.output
    assert story.output.count("rule hungry failed") == 1
    assert len(set(story.jobs("hungry"))) == 2


def test_all_of_it_is_recorded(story: Story) -> None:
    assert story.workflow.begun() == {
        "moved": 2, "patient": 2, "patient.told": 1, "limited": 2, "hungry": 2, "by_hand": 2, "cheap": 2, "cheap.told": 1
    }  # fmt: skip
    story.workflow.nothing_to_do()


def test_a_grace_time_is_used_and_the_job_goes_on(slurm: Cluster, tmp_path: Path) -> None:
    """A save that takes longer than KillWait, in a partition whose preempted jobs may run on for some time."""
    (tmp_path / "epochs.py").write_text(EPOCHS)
    workflow = Counted(tmp_path / "it's here", slurm)
    more = "checkpoint=1, slurm_extra='--exclude=n1', slurm_partition='lenient', gpu=1"
    command = python(tmp_path / "epochs.py", "lenient", "lenient", "15")
    workflow.write(RULE_ALL.format(inputs='"lenient"') + rule("lenient", command, more=more, counted=False))
    run = workflow.start()
    workflow.wait_for("lenient")
    slurm.command("sbatch", *RICH, "--wrap=sleep 2")
    output = run.end(hopeless=lambda: _began_anew(workflow) or slurm.stuck())
    first, told, second = workflow.lines()
    assert first[1:] == [told[1], "0"] and int(told[2]) > 0 and second[1:] == told[1:]
    assert (workflow.folder / "lenient").read_text() == str(int(told[2]) + 10)
    assert "failed" not in output and output.count("(Rule: lenient)") == 1
