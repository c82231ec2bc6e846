"""KIP over a list of kernels, each set tested with its own kernel and with every other.

  python -m ddjax.main --config=configs/kernel_ablation.py                 digits, ipc 1
  python -m ddjax.main --config=configs/kernel_ablation.py:mnist,ipc=10,pooled

Words behind the colon: data set, `ipc=N`, `seed=N`, `pooled` (ConvNet and Myrtle kernels too: days
on a CPU, so what is above `max_cell_minutes` is marked "not run"), `smoke`. The cells are
architecture x depth x NTK/NNGP x ridge; edit `config.kernels` for others.
Measured: docs/reproduction.md.
"""

from ml_collections import ConfigDict

from ddjax.config import arguments, groups


def _cells(has_pooled: bool) -> dict[str, dict]:
  """{name: fields of `groups.kernel`, and ridge}."""
  cells = {}
  for family, depth in (("fc", 1), ("fc", 2), ("fc", 3), ("conv", 1), ("conv", 2)):
    for kind in ("ntk", "nngp"):
      cells[f"{family}{depth}-{kind}"] = dict(family=family, depth=depth, kind=kind, ridge=1e-6)
  cells["fc1-ntk-ridge1e-3"] = dict(family="fc", depth=1, kind="ntk", ridge=1e-3)
  cells["rbf"] = dict(family="rbf", depth=1, kind="nngp", ridge=1e-6)
  if has_pooled:
    for family, depth in (("convnet", 3), ("myrtle", 5)):
      cells[f"{family}{depth}-ntk"] = dict(family=family, depth=depth, kind="ntk", ridge=1e-6)
  return cells


def get_config(arg: str | None = None) -> ConfigDict:
  """Builds the config for `arg`, such as `mnist,ipc=10`."""
  args = arguments.parse_argument(
    arg, dict(dataset="digits", ipc=1, seed=0), flags=("pooled", "smoke")
  )
  config = groups.base("kip", args["dataset"])
  config.task = "kernel_ablation"
  config.variant = "-".join(["ablation"] + [f for f in ("pooled", "smoke") if args[f]])
  config.seed = args["seed"]
  config.evaluators = ("kernel",)
  config.kernels = ConfigDict(
    {
      name: groups.kernel(cell["family"], cell["depth"], cell["kind"]).to_dict()
      | {"ridge": cell["ridge"]}
      for name, cell in _cells(args["pooled"]).items()
    }
  )
  config.max_cell_minutes = 10.0  # a cell estimated above this is marked "not run"
  is_small = args["dataset"] in ("digits", "fake")
  batch = {"digits": 1000, "fake": 32}.get(args["dataset"], 5000)
  config.update(
    groups.kip(
      ipc=args["ipc"],
      num_steps=20 if args["smoke"] else 200 if is_small else 500,
      learning_rate=0.04,
      target_batch_size=batch,
    )
  )
  return config
