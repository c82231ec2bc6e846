"""A step of the methods that no PyTorch step is written for here, beside their floor alone.

  python -m benchmarks.other_steps [--case=NAME] [--rounds=N] [--device=cpu|gpu|tpu]

Published sizes on random pixels: IDC (an update of the images, and what trains its network), a
block of Label Solve under the FC-1 kernel, a step of the network whose features coresets take, and
the choice of a class by them.
"""

from absl import app, flags

from benchmarks import harness, one_step
from configs import coreset, idc, label_solve

CASES = {  # name: (method, its config)
  "idc": ("idc", lambda: idc.get_config("cifar10,ipc=1")),
  "label_solve": ("label_solve", lambda: label_solve.get_config("cifar10,ipc=10")),
  "coreset, training": ("coreset", lambda: coreset.get_config("cifar10,method=herding,ipc=10")),
  "coreset, choice": ("coreset", lambda: _chosen_from_pixels()),
}

_CASE = flags.DEFINE_enum("case", None, list(CASES), "Which case; all by default.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds of each case.", lower_bound=2)


def _chosen_from_pixels():
  """The choice comes first where no network has to be trained."""
  config = coreset.get_config("cifar10,method=herding,ipc=10")
  config.coreset.features = "pixels"
  return config


def main(_) -> None:
  """Times the cases."""
  harness.use_device()
  timings, step_costs = {}, {}
  for name, (method, make_config) in CASES.items():
    if _CASE.value in (None, name):
      call, step_costs[name] = one_step.make_call(method, make_config())
      seconds = harness.take_turns({"ours": call}, _ROUNDS.value)
      timings |= harness.compare_with(seconds, {name: "none"})
  harness.report(timings, "ddjax", "no baseline", step_costs)


if __name__ == "__main__":
  app.run(main)
