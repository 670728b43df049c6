# `make` alone lists the targets. New users need two of them: make demo, make test.
SHELL := bash
CORES ?= $(shell nproc)
# Folder of `make slurm-up`. Its name is short because it holds sockets.
SLURM_FOLDER ?= $(or $(TMPDIR),/tmp)/slurm-$(shell id -u)
RUN := PATH="$(CURDIR)/.venv/bin:$$PATH"
TARGET ?= results/evaluations/miniresnet.supervised/obs/upper/seed_0/global/sparsity_0.7/keep/all.csv

.DEFAULT_GOAL := help
.PHONY: help env env-dev demo large criteria benchmark test test-fast slurm-up slurm-down lint format dag pretrained times lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-12s %s\n", $$1, $$2 }'

env: ## create or update .venv (hash-pinned, with uv)
	@envs/create.sh requirements

env-dev: # add what tests and linters need
	@envs/create.sh requirements-dev

demo: env ## create the environment, run the default grid on the embedded data, write figures to results/
	@$(RUN) python workflow_scripts/tools/unlock.py
	@$(RUN) snakemake --cores $(CORES) --quiet rules
	@cat results/summary.txt

large: env ## run the larger grid: several sources and seeds (hours)
	@$(RUN) python workflow_scripts/tools/unlock.py
	@$(RUN) snakemake --cores $(CORES) --quiet rules --configfile resources/configs/large.yaml

criteria: env ## run all criteria on several sources and seeds, pruned models only (about an hour)
	@$(RUN) python workflow_scripts/tools/unlock.py
	@$(RUN) snakemake --cores $(CORES) --quiet rules --configfile resources/configs/criteria_convnets.yaml
	@$(RUN) snakemake --cores $(CORES) --quiet rules --configfile resources/configs/criteria_vits.yaml
	@cat results/criteria_convnets/criteria.md results/criteria_vits/criteria.md

benchmark: env ## measure speed and memory as ratios, in Markdown (about 15 minutes; use a quiet machine)
	@$(RUN) python benchmarks/artifacts.py
	@$(RUN) python benchmarks/curvature.py
	@$(RUN) python benchmarks/inverse_diagonals.py
	@$(RUN) python benchmarks/selection.py
	@$(RUN) python benchmarks/throughput.py

test: env-dev ## create the environment, run all tests
	@$(RUN) python -m pytest -n $(CORES)

test-fast: env-dev ## run the fast tests (less than two minutes in all)
	@$(RUN) python -m pytest -n $(CORES) -m "not slow"

slurm-up: env ## start a private SLURM on this machine for trying things; prints what to export
	@$(RUN) python tests/slurm/cluster.py up $(SLURM_FOLDER)

slurm-down: ## stop the private SLURM and remove its files
	@$(RUN) python tests/slurm/cluster.py down $(SLURM_FOLDER)

lint: env-dev ## check with ruff, snakefmt, mypy, import-linter and snakemake --lint
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) snakefmt --check Snakefile rules
	@$(RUN) mypy
	@$(RUN) env PYTHONPATH=workflow_scripts lint-imports
	@$(RUN) snakemake --lint

format: env-dev ## format with ruff and snakefmt, in place
	@$(RUN) ruff check --fix .
	@$(RUN) ruff format .
	@$(RUN) snakefmt Snakefile rules

dag: env ## draw the rule graph and the DAG of TARGET as SVG in results/
	@command -v dot >/dev/null || { echo "make dag: graphviz's dot is needed (Debian: apt install graphviz)" >&2; exit 1; }
	@mkdir -p results
	@$(RUN) snakemake --rulegraph --forceall | dot -Tsvg -o results/rulegraph.svg
	@$(RUN) snakemake --dag --forceall $(TARGET) | dot -Tsvg -o results/dag.svg
	@echo "results/rulegraph.svg (all rules), results/dag.svg (what $(TARGET) needs)"

pretrained: env ## train the six embedded backbones again (hours)
	@$(RUN) python workflow_scripts/tools/pretrain.py

times: env ## print a table of each rule's start-up, work, CPU and memory
	@$(RUN) python workflow_scripts/tools/times.py results

lock: ## compile envs/*.in to hash-pinned lists
	@envs/lock.sh

clean: ## remove the results, not the environment
	rm -rf results .snakemake
