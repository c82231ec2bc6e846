#!/usr/bin/env bash
# Runs ddjax on a Google Cloud TPU VM, on all of its hosts. Needs `gcloud`, signed in.
#
#   bash launch/tpu_vm.sh [--dry-run] create
#   bash launch/tpu_vm.sh [--dry-run] run ARGUMENTS    copies HEAD there; arguments of local.sh
#   bash launch/tpu_vm.sh [--dry-run] ssh              a shell on the first host
#   bash launch/tpu_vm.sh [--dry-run] delete
#
# Variables: TPU_NAME (default ddjax), ZONE (default us-central2-b), TPU_TYPE (default v4-8),
# TPU_VERSION, the VM image (default tpu-ubuntu2204-base). --dry-run prints the commands only.
# The run folder lies on the first host; --workdir=gs://BUCKET/runs/NAME keeps a copy in a bucket.

set -euo pipefail
: "${TPU_NAME:=ddjax}" "${ZONE:=us-central2-b}" "${TPU_TYPE:=v4-8}"
: "${TPU_VERSION:=tpu-ubuntu2204-base}"

usage() {
  sed -n '2,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
}

is_dry_run=false
if [[ "${1:-}" == --dry-run ]]; then
  is_dry_run=true
  shift
fi

call() {
  printf '+' >&2
  printf ' %q' "$@" >&2
  printf '\n' >&2
  "$is_dry_run" || "$@"
}

tpu() { # subcommand, then its own arguments
  call gcloud compute tpus tpu-vm "$1" --zone="$ZONE" "${@:2}"
}

run_everywhere() {
  local archive remote
  archive="${TMPDIR:-/tmp}/ddjax-$TPU_NAME.tar.gz"
  call git -C "$(dirname "${BASH_SOURCE[0]}")/.." archive --output="$archive" HEAD
  tpu scp --worker=all "$archive" "$TPU_NAME:ddjax.tar.gz"
  remote="mkdir -p ddjax && tar -xzf ddjax.tar.gz -C ddjax && DDJAX_MULTIHOST=1 bash"
  remote+="$(printf ' %q' ddjax/launch/local.sh --accelerator=tpu "$@")"
  tpu ssh --worker=all --command="$remote" "$TPU_NAME"
}

case "${1:-}" in
  create) tpu create --accelerator-type="$TPU_TYPE" --version="$TPU_VERSION" "$TPU_NAME" ;;
  run) run_everywhere "${@:2}" ;;
  ssh) tpu ssh --worker=0 "$TPU_NAME" ;;
  delete) tpu delete "$TPU_NAME" ;;
  *) usage ;;
esac
