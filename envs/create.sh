#!/usr/bin/env bash
# Create or update .venv from the hash-pinned lists in this folder. Comes back at once when nothing has changed.
# Usage: envs/create.sh requirements|requirements-dev
set -euo pipefail
cd "$(dirname "$0")/.."

list=envs/${1:-requirements}.txt
needed_gb=7

fail() {
    printf 'make env: %s\n' "$1" >&2
    exit 1
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer is needed, but python3 is $(python3 --version 2>/dev/null || echo absent). Install one, or name it: make env PYTHON=/path/to/python3.12"
}

uv_command() {
    if command -v uv >/dev/null; then
        command -v uv
        return
    fi
    [ -x .venv/uv/bin/uv ] || {
        "$python" -m venv .venv/uv 2>/dev/null ||
            fail "neither uv nor Python's venv module is there. Install one of them (Debian: apt install python3-venv)"
        .venv/uv/bin/python -m pip install --quiet --require-hashes -r envs/uv.txt >&2 ||
            fail "uv could not be installed: is the package index reachable from here?"
    }
    echo .venv/uv/bin/uv
}

stamp=.venv/$(cat envs/create.sh envs/requirements.txt "$list" | sha256sum | cut -c1-16).$(basename "$list" .txt)
if [ -e "$stamp" ]; then exit 0; fi

python=$(find_python)
mkdir -p .venv
free_gb=$(($(df -Pk .venv | awk 'NR == 2 { print $4 }') / 1048576))
if [ ! -e .venv/bin/torchrun ] && [ "$free_gb" -lt "$needed_gb" ]; then
    fail "the environment takes about $needed_gb GB, but $free_gb GB are free in $PWD"
fi

uv=$(uv_command)
[ -x .venv/bin/python ] || "$uv" venv --quiet --allow-existing --python "$python" .venv
echo "make env: installing $list (about 5 GB the first time)" >&2
# shellcheck disable=SC2086
VIRTUAL_ENV=$PWD/.venv "$uv" pip install --quiet --require-hashes -r "$list" ||
    fail "the packages of $list could not be installed (see above). Without a network this can't be done; nothing else is needed from it later"
# Snakemake finds the executor `submitit` among the installed packages.
plugin=workflow_scripts/snakemake-executor-plugin-submitit/snakemake_executor_plugin_submitit
for packages in .venv/lib/python3.*/site-packages; do
    [ ! -d "$packages" ] || ln -sfn "../../../../$plugin" "$packages/"
done
# Cached bytecode, also where PYTHONDONTWRITEBYTECODE is set (containers): every step starts a Snakemake, 0.9 s with it, 2.2 s without.
(unset PYTHONDONTWRITEBYTECODE && .venv/bin/python -c 'import snakemake.cli, submitit, torch, timm')
rm -f .venv/*.requirements .venv/*.requirements-dev
touch "$stamp"
# The longer list holds the shorter one.
if [ "$list" = envs/requirements-dev.txt ]; then
    touch ".venv/$(cat envs/create.sh envs/requirements.txt envs/requirements.txt | sha256sum | cut -c1-16).requirements"
fi
