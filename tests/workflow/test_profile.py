"""slurm/config.yaml fits the workflow: no rule is forgotten, and a GPU goes to the steps that use one."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from project import ROOT, Project

PROFILE = yaml.safe_load((ROOT / "slurm/config.yaml").read_text())
RULE = re.compile(r"^(?:rule (\w+)|use rule (\w+) as (\w+) with):$", re.MULTILINE)
SCRIPT = re.compile(r"workflow_scripts/(\w+\.py)")
LOCAL = set(
    re.findall(r"\w+", (ROOT / "Snakefile").read_text().partition("localrules:")[2].partition("\n\n")[0])
)


def scripts() -> dict[str, str]:
    """Rule → the step it runs."""
    text = "".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))
    heads = [*RULE.finditer(text)]
    found: dict[str, str] = {}
    parents: dict[str, str] = {}
    for head, following in zip(heads, [*heads[1:], None], strict=True):
        body = text[head.end() : following.start() if following else None]
        script = SCRIPT.search(body)
        name = head[1] or head[3]
        if script:
            found[name] = script[1]
        else:
            parents[name] = head[2]
    while parents.keys() - found.keys():
        found |= {name: found[parent] for name, parent in parents.items() if parent in found}
    return found


def uses_device(script: str) -> bool:
    return "device()" in (ROOT / "workflow_scripts" / script).read_text()


def test_every_rule_is_local_or_has_its_cpus() -> None:
    assert {*scripts()} - LOCAL == {*PROFILE["set-threads"]}
    assert LOCAL - {"all"} <= {*scripts()}


def test_local_rules_have_the_threads_they_ask_for() -> None:
    """A local job that asks for more than `local-cores` is never started, and Snakemake waits for ever."""
    text = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    for rule in LOCAL - {"all"}:
        body = text.partition(f"rule {rule}:\n")[2].partition("\nrule ")[0].partition("\nuse rule ")[0]
        assert "script:" in body
        threads = re.search(r"^    threads: (\d+)$", body, re.MULTILINE)
        assert int(threads[1] if threads else 1) <= PROFILE["local-cores"], rule
        assert "threads:" not in body or threads, f"{rule}: not a number"


def test_a_gpu_goes_to_the_steps_that_use_one() -> None:
    wanted = {name for name, script in scripts().items() if uses_device(script)} - LOCAL
    assert wanted == {name for name, asked in PROFILE["set-resources"].items() if asked.get("gpu")}
    assert len(wanted) > 5


def test_steps_that_keep_a_checkpoint_say_so() -> None:
    keep = {"finetune", "score_in_rounds"}
    assert keep == {name for name, asked in PROFILE["set-resources"].items() if asked.get("checkpoint")}
    for name in keep:
        assert "checkpoint" in (ROOT / "workflow_scripts" / f"{name}.py").read_text()


@pytest.mark.slow
def test_the_profile_is_found_from_the_root_and_runs_on_a_laptop(fresh: Project) -> None:
    """The same profile with `--submitit-cluster local`: each step a process of this machine."""
    target = "results/scores/miniresnet.supervised/magnitude.safetensors"
    command = [sys.executable, "-m", "snakemake", "--profile", "slurm", "-j", "2", target]
    done = subprocess.run(
        [*command, "--submitit-cluster", "local", "--seconds-between-status-checks", "1"],
        cwd=fresh.folder,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (fresh.folder / target).exists()
    assert [*Path(fresh.folder, ".snakemake/submitit/logs/compute_scores").rglob("*.log")]
