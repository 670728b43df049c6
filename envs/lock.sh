#!/usr/bin/env bash
# Compile the lists of direct requirements to hash-pinned ones that name no index.
set -euo pipefail
cd "$(dirname "$0")"
compile() {
    uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url \
        --python-version 3.11 "$@"
}
compile uv.in -o uv.txt
compile requirements.in -o requirements.txt
compile requirements-dev.in -c requirements.txt -o requirements-dev.txt
