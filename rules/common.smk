# What only Snakemake can say: where this workflow lies, its configuration, and its wildcards. What jobs read and are
# told is in obtransfer/dag, where tests reach it.
import functools
import sys
from dataclasses import asdict
from pathlib import Path

BASE = Path(str(workflow.current_basedir)).parent
sys.path.insert(0, str(BASE / "workflow_scripts"))

from obtransfer.config import load
from obtransfer.dag import paths
from obtransfer.dag.inputs import Inputs
from obtransfer.dag.params import Params
from obtransfer.errors import ObtransferError
from obtransfer.registry import FIGURES
from obtransfer.runtime.provenance import code_digest


def in_words(function):
    """The function, with errors of ours as errors that Snakemake prints without a traceback."""

    @functools.wraps(function)
    def told(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except ObtransferError as error:
            raise WorkflowError(str(error)) from None

    return told


class Methods:
    """The methods of an object as Snakemake's input and parameter functions."""

    def __init__(self, of):
        for name in dir(of):
            if not name.startswith("_") and callable(getattr(of, name)):
                setattr(self, name, in_words(getattr(of, name)))


CONFIG = in_words(load)(config, workflow.configfiles)
inputs = Methods(Inputs(CONFIG))
params = Methods(Params(Inputs(CONFIG)))


def made(template):
    """The path of what a rule makes."""
    return paths.below(CONFIG.results, template)


def log_of(rule, template):
    """The log of a rule's job."""
    return made(paths.log(rule, template))


def benchmark_of(rule, template):
    """The benchmark of a rule's job."""
    return made(paths.benchmark(rule, template))


wildcard_constraints:
    **paths.WILDCARDS,
