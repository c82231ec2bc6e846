#!/usr/bin/env bash
# Runs the linter and the tests: `bash launch/test.sh [--accelerator=cpu|cuda|tpu] ARGUMENTS`.
# The arguments are pytest's; relative paths start at the repository's root.

set -euo pipefail
# shellcheck source=launch/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

prepare_environment requirements-dev.txt "$@"
say "ruff check, ruff format --check, pytest ${arguments[*]-}"
.venv/bin/python -m ruff check --quiet
.venv/bin/python -m ruff format --check --quiet
# What compiles most runs on one core; tests of one file share compiled programs and fixtures.
# Long files come first (tests/conftest.py), not those of many tests.
# A worker that dies ends the run: a new one in its place was seen to wait for ever.
options=(-n auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder --max-worker-restart=0)
exec .venv/bin/python -m pytest "${options[@]}" ${arguments[@]+"${arguments[@]}"} # bash 3: empty is unset
