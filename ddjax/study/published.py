"""Published accuracies of the methods, to be seen beside ours.

Test accuracy of the papers named, of networks (ConvNet) unless said otherwise.
"""

from typing import NamedTuple


class Published(NamedTuple):
  """An accuracy, and whose."""

  accuracy: float
  source: str


_TABLE = {
  ("random", "DC, DSA and DM papers"): {
    "cifar10": (0.144, 0.260, 0.434),
    "cifar100": (0.042, 0.146, 0.300),
  },
  ("herding", "DC paper"): {"cifar10": (0.215, 0.316, 0.404)},
  ("dc", "Zhao, Mopuri, Bilen 2021"): {
    "cifar10": (0.283, 0.449, 0.539),
    "cifar100": (0.128, 0.252),
    "mnist": (0.917, 0.974, 0.988),
    "fashion_mnist": (0.705, 0.823, 0.836),
    "svhn_cropped": (0.312, 0.761, 0.823),
  },
  ("dsa", "Zhao, Bilen 2021"): {
    "cifar10": (0.288, 0.521, 0.606),
    "cifar100": (0.139, 0.323),
    "mnist": (0.887, 0.978, 0.992),
    "fashion_mnist": (0.706, 0.846, 0.887),
    "svhn_cropped": (0.275, 0.792, 0.844),
  },
  ("dm", "Zhao, Bilen 2023"): {
    "cifar10": (0.260, 0.489, 0.630),
    "cifar100": (0.114, 0.297, 0.436),
    "mnist": (0.897, 0.975, 0.986),
  },
  ("mtt", "Cazenavette et al. 2022"): {
    "cifar10": (0.463, 0.653, 0.716),
    "cifar100": (0.243, 0.401, 0.477),
  },
  ("frepo", "Zhou et al. 2022"): {
    "cifar10": (0.468, 0.655, 0.717),
    "cifar100": (0.287, 0.425, 0.443),
  },
  ("idc", "Kim et al. 2022"): {
    "cifar10": (0.506, 0.675, 0.745),
    "mnist": (0.942, 0.984, 0.991),
    "fashion_mnist": (0.810, 0.860, 0.862),
    "svhn_cropped": (0.685, 0.875, 0.901),
  },
  ("datm", "Guo et al. 2024"): {
    "cifar10": (0.469, 0.668, 0.761),
    "cifar100": (0.279, 0.472, 0.550),
  },
  ("ncfm", "Wang et al. 2025, best epoch on the test set"): {
    "cifar10": (0.495, 0.718, 0.774),
    "cifar100": (0.344, 0.487, 0.547),
  },
  ("kip", "Nguyen, Chen, Lee 2021, FC kernel, ridge regression"): {
    "cifar10": (0.405, 0.531, 0.586),
    "mnist": (0.855, 0.972, 0.984),
  },
}  # fmt: skip
_IPCS = (1, 10, 50)


def find(method: str | None, dataset: str | None, ipc: int | None) -> Published | None:
  """The published figure of a method, or None where we know of none.

  Args:
    method: as in configs.
    dataset: likewise.
    ipc: images a class.
  """
  for (name, source), by_data in _TABLE.items():
    if name == method and ipc in _IPCS:
      row = by_data.get(dataset, ())
      place = _IPCS.index(ipc)
      if place < len(row):
        return Published(row[place], source)
  return None
