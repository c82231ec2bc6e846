#!/usr/bin/env bash
#SBATCH --job-name=ddjax
#SBATCH --output=slurm-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=TERM@120
#SBATCH --time=08:00:00
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#
# A Slurm job: `sbatch [sbatch's options] launch/slurm.sh ARGUMENTS`, from the repository's root,
# with the arguments of launch/local.sh. Options given to sbatch win over those above.
#
# Two minutes before the time limit, and on preemption, Slurm sends SIGTERM: the run saves and leaves
# with 143. Slurm itself queues a preempted job again; at the time limit this script asks for it.
# Started again, the run resumes.

set -euo pipefail
cd "${SLURM_SUBMIT_DIR:?is not set; start this file with sbatch}"
[[ -f launch/local.sh ]] || {
  echo "ddjax: submit from the repository's root; $PWD has no launch/local.sh." >&2
  exit 1
}

[[ " $* " == *" --accelerator"* ]] || set -- --accelerator=cuda "$@"
bash launch/setup.sh "$@" # once, before several tasks look for .venv at the same time
if ((SLURM_JOB_NUM_NODES > 1)); then
  export DDJAX_MULTIHOST=1
fi

status=0
srun bash launch/local.sh "$@" || status=$?
if ((status == 143)); then
  scontrol requeue "$SLURM_JOB_ID" || echo "ddjax: job $SLURM_JOB_ID is already queued again." >&2
fi
exit "$status"
