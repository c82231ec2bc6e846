"""Records of studies that never ran, with planted effects."""

import itertools
from types import SimpleNamespace

import numpy as np

from ddjax.study.records import Record

NETWORK = "convnet(depth=2)"
_EPSILONS = [0.0, 1 / 255, 2 / 255, 4 / 255, 8 / 255, 16 / 255]
CLASSES = [str(i) for i in range(10)]


def section_of(kind, scalars, half=0.02, per_model=None, settings=None, no_interval=()):
  """A report in JSON, every figure with an interval of that half-width."""
  interval = {
    key: [value - half, value + half]
    for key, value in scalars.items()
    if value is not None and key not in no_interval
  }
  return {
    "kind": kind,
    "scalars": dict(scalars),
    "spread": {},
    "interval": interval,
    "per_model": per_model or {},
    "per_class": {},
    "settings": {"interval_over": {}, "not_measured": {}, **(settings or {})},
  }


def accuracy(value, networks=5, random=None, full=None, spread=0.01, rng=None):
  """Networks lie evenly about the value."""
  offsets = np.linspace(-spread, spread, networks) if networks > 1 else np.zeros(1)
  scalars = {NETWORK: value}
  if random is not None:
    scalars |= {f"random_subset_{NETWORK}": random, f"gain_over_random_{NETWORK}": value - random}
  if full is not None:
    scalars[f"full_{NETWORK}"] = full
  per_model = {NETWORK: (value + offsets).tolist()}
  settings = {"architectures": [NETWORK], "num_models": {"distilled": networks}}
  return section_of("accuracy", scalars, per_model=per_model, settings=settings)


def privacy(auc, random=0.5, full=0.6):
  scalars = {
    "loss_auc": auc - 0.01,
    "loss_tpr_at_1_percent_fpr": 0.01,
    "lira_auc": auc,
    "lira_tpr_at_1_percent_fpr": 0.02,
    "random_subset_lira_auc": random,
    "full_lira_auc": full,
    "gain_over_random_lira_auc": auc - random,
    "lira_epsilon_lower_bound": 0.1,
    "nearest_is_train_pixels": 0.75,
  }
  return section_of("privacy", scalars, half=0.01, no_interval=("lira_epsilon_lower_bound",))


def robustness(perturbation, random=0.2, full=0.3, clean=0.8):
  def curve(top):
    values = [max(top - 4 * epsilon, 0.0) for epsilon in _EPSILONS]
    return {
      "epsilon": _EPSILONS,
      "accuracy": values,
      "low": [max(value - 0.02, 0) for value in values],
      "high": [value + 0.02 for value in values],
    }

  scalars = {
    "clean": clean,
    "pgd_linf_8_255": clean - 0.1,
    "autoattack_linf_8_255": clean - 0.12,
    "deepfool_relative_perturbation": perturbation,
    "random_subset_deepfool_relative_perturbation": random,
    "gain_over_random_deepfool_relative_perturbation": perturbation - random,
    "full_deepfool_relative_perturbation": full,
    "corruption_blur": clean - 0.2,
    "corruption_jpeg": clean - 0.05,
    "corruption_mean": clean - 0.125,
  }
  settings = {
    "curve": {"distilled": curve(clean), "random_subset": curve(0.7), "full": curve(0.95)},
    "num_models": {"distilled": 3},
  }
  return section_of("robustness", scalars, settings=settings)


def fairness(gap, random=0.3, full=0.1):
  scalars = {
    "worst_class_accuracy": 1 - gap,
    "accuracy_gap": gap + 0.01,
    "accuracy_std": gap / 3,
    "accuracy_ratio": 1 - gap,
    "random_subset_accuracy_gap": random + 0.01,
    "full_accuracy_gap": full + 0.01,
    "gain_over_random_accuracy_gap": gap - random,
    "gain_over_full_accuracy_gap": gap - full,
  }
  noise_free = {key: value - 0.01 for key, value in scalars.items() if key.endswith("_gap")}
  noise_free |= {k: v for k, v in scalars.items() if k.startswith("gain_")}
  return section_of("fairness", scalars, settings={"without_noise": noise_free})


def record(role="method", reports=None, state="done", name=None, scores=None, **factors):
  """A record; the factors that are not given do not apply."""
  base = dict(
    method="dm", dataset="digits", ipc=1, init="real", num_classes=None, seed=0, variant=None
  )
  factors = base | factors
  if role in ("baseline", "curve", "full", "steps", "transfer"):
    factors["init"] = None
  if role in ("full", "steps"):
    factors["ipc"], factors["method"] = None, "full set"
  report = None
  if reports is not None:
    report = {
      "run": {
        "class_names": CLASSES[: factors["num_classes"] or 10],
        "seconds": {"data": 1.0, "distill": 30.0 * (factors["ipc"] or 1)},
        "estimates": {
          "flops": {"distill": 1e12 * (factors["ipc"] or 1)},
          "memory_bytes": 2_000_000,
        },
      },
      "reports": reports,
    }
  parts = [role, *(str(value) for value in factors.values() if value is not None)]
  return Record(
    name=name or "-".join(parts),
    role=role,
    task="distill",
    factors=factors,
    state=state,
    seconds=100.0 if report else None,
    estimate_seconds=120.0,
    device="CPU, 2 cores",
    finished="2026-11-30T23:59:00+00:00",
    report=report,
    scores=scores,
  )


METHODS = {"kip": 0.10, "dc": 0.0, "dm": 0.06, "mtt": 0.03}


def study(seeds=(0, 1, 2), methods=METHODS, ipcs=(1, 10), inits=("real", "noise")):
  """A whole study: better methods leak more; ipc adds .03 of AUC, noise nothing."""
  records = []
  rng = np.random.default_rng(0)

  def jitter(scale=0.003):
    return float(rng.normal(scale=scale))

  for method, ipc, init, seed in itertools.product(methods, ipcs, inits, seeds):
    better = methods[method]
    random = 0.5 + 0.2 * np.log10(ipc)
    value = random + 0.05 + better + jitter()
    reports = {
      "accuracy": accuracy(value, random=random, full=0.97),
      "privacy": privacy(0.53 + 0.03 * np.log10(ipc) + 0.2 * better + jitter(0.001)),
      "robustness": robustness(0.2 + better + jitter(), clean=value),
      "fairness": fairness(0.25 - better + jitter()),
    }
    records.append(record(reports=reports, method=method, ipc=ipc, init=init, seed=seed))
  for method, ipc, seed in itertools.product(("random", "herding", "k_means"), ipcs, seeds):
    level = 0.5 + 0.2 * np.log10(ipc) + {"random": 0, "herding": 0.01, "k_means": 0.03}[method]
    reports = {
      "accuracy": accuracy(level + jitter()),
      "privacy": privacy(0.5 + jitter(0.001)),
      "robustness": robustness(0.2 + jitter(), clean=level),
      "fairness": fairness(0.3 + jitter()),
    }
    records.append(record("baseline", reports, method=method, ipc=ipc, seed=seed))
  for ipc, seed in itertools.product((2, 5, 20, 50, 100), seeds):
    reports = {"accuracy": accuracy(min(0.5 + 0.2 * np.log10(ipc), 0.96) + jitter())}
    records.append(record("curve", reports, method="random", ipc=ipc, seed=seed))
  for steps, seed in itertools.product((10, 30, 100, 300, 1000), seeds):
    reports = {"accuracy": accuracy(0.3 + 0.2 * np.log10(steps) + jitter())}
    records.append(record("steps", reports, steps=steps, seed=seed))
  for seed in seeds:
    records.append(record("full", {"accuracy": accuracy(0.97)}, seed=seed))
  records += [
    record(state="failed", method="idc", seed=0)._replace(
      error="NonFiniteLossError: the loss at step 3 is nan <script>alert(1)</script>."
    ),
    record(state="too dear", method="idc", ipc=10)._replace(estimate_seconds=90000.0),
    record(state="waiting", method="idc", ipc=10, seed=1),
  ]
  return records


CONFIG = {
  "preset": "made",
  "claims_attacks": ["lira", "loss"],
  "evaluators": ["accuracy", "privacy", "robustness", "fairness"],
  "axes": {"method": list(METHODS), "ipc": [1, 10]},
}


def cell(record):
  """What the engine hands over for a record."""
  return SimpleNamespace(
    name=record.name, role=record.role, task=record.task, factors=record.factors
  )


def kernel(value, random=0.5):
  return {
    "kernel": section_of("kernel", {"test_accuracy": value, "random_subset_accuracy": random})
  }


def transfer():
  """Two kernels; own .9, the other's .7."""
  records = [
    record(reports=kernel(0.9), method="kip", variant=name, name=f"kip-{name}")
    for name in ("rbf", "ntk")
  ]
  for column in ("rbf", "ntk"):
    sets = [
      {"label": f"cells/kip-{row}", "reports": kernel(0.9 if row == column else 0.7)}
      for row in ("rbf", "ntk")
    ]
    tested = record("transfer", sets[0]["reports"], method=None, variant=column)
    tested.report["sets"] = sets
    records.append(tested)
  return records
