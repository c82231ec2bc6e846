#!/usr/bin/env bash
# Runs ddjax on this machine: `bash launch/local.sh [--accelerator=cpu|cuda|tpu] ARGUMENTS`.
# The arguments are those of `python -m ddjax.main`; relative paths start at the repository's root.

set -euo pipefail
# shellcheck source=launch/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

prepare_environment requirements.txt "$@"
# ddjax.main refuses to run where JAX computes elsewhere than was asked for.
[[ -z "$asked_for" ]] || export DDJAX_ACCELERATOR="$asked_for"
exec .venv/bin/python -m ddjax.main ${arguments[@]+"${arguments[@]}"} # bash 3: empty is unset
