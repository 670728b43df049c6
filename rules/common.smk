# What depends on Snakemake: the workflow's folder, its configuration, and the wildcards. The inputs and parameters of
# jobs are in obtransfer/dag, where tests reach them.
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
    """The function; its ObtransferError becomes an error that Snakemake prints without a traceback."""

    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except ObtransferError as error:
            raise WorkflowError(str(error)) from None

    return wrapped


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
    """The path of a rule's output."""
    return paths.below(CONFIG.results, template)


def log_of(rule, template):
    """The log of a rule's job."""
    return made(paths.log(rule, template))


def benchmark_of(rule, template):
    """The benchmark of a rule's job."""
    return made(paths.benchmark(rule, template))


wildcard_constraints:
    **paths.WILDCARDS,
