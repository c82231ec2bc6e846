import pytest

from ddjax.io.findings import HOW_TO_READ, finding
from ddjax.registry import EVALUATORS

REPORTS = {
  "kernel": {"settings": {"confusion": [[8, 2, 0], [0, 10, 0], [1, 0, 9]]}},
  "accuracy": {
    "scalars": {
      "mlp": 0.7, "gain_over_random_mlp": 0.1, "convnet": 0.5, "gain_over_random_convnet": -0.2,
      "lenet": 0.5, "gain_over_random_lenet": 0.01,
    },
    "interval": {
      "gain_over_random_mlp": [0.05, 0.15], "gain_over_random_convnet": [-0.3, -0.1],
      "gain_over_random_lenet": [-0.01, 0.03],
    },
    "settings": {},
  },
  "privacy": {
    "scalars": {
      "loss_auc": 0.52, "lira_auc": 0.61, "random_subset_lira_auc": 0.9, "shadow_mlp_auc": None,
      "gain_over_random_lira_auc": 0.95, "nearest_is_train_pixels": 0.98,
      "nearest_is_train_features": 0.76,
    },
    "interval": {"lira_auc": [0.58, 0.64]},
    "settings": {"nearest_is_train_without_copying": 0.75},
  },
  "robustness": {
    "scalars": {
      "clean": 0.97, "corruption_blur": 0.872, "corruption_jpeg": 0.96, "corruption_mean": 0.916
    },
    "settings": {
      "curve": {
        "distilled": {"epsilon": [0.0, 16 / 255], "accuracy": [0.97, 0.5]},
        "random_subset": {"epsilon": [0.0, 16 / 255], "accuracy": [0.93, 0.45]},
      }
    },
  },
  "features": {
    "scalars": {"distance": 0.5, "random_subset_distance": 0.9},
    "interval": {"distance": [0.4, 0.6]},
  },
  "fairness": {
    "scalars": {"worst_class_accuracy": 0.58}, "per_class": {"accuracy": [0.9, 0.95, 0.6]}
  },
}  # fmt: skip
NAMES = ("cat", "dog", "owl")


@pytest.mark.parametrize(
  "name, said",
  [
    ("architectures", "Of 3 kinds of network, 1 learn more from the set than from a random subset "
     "of its size, 1 less; for 1 the interval includes zero."),
    ("membership", "Of 2 attacks the strongest, LiRA, has an AUC of 0.610 [0.580, 0.640]; "
     "guessing has .5."),
    ("closest_pairs", "For 98% of all synthetic images the nearest real image is a train image; "
     "it would be for 75% if nothing were copied."),
    ("closest_pairs_in_features", "For 76% of all synthetic images the nearest real image is a "
     "train image; it would be for 75% if nothing were copied."),
    ("robustness", "Perturbations of up to 16/255 take accuracy from 0.970 to 0.500 for the set, "
     "from 0.930 to 0.450 for the random subset."),
    ("corruptions", "Corrupted images are recognised with accuracy 0.916 on average, clean ones "
     "with 0.970; blur costs most (0.872)."),
    ("fairness", "On average over the networks, class owl is recognised worst (0.600), "
     "class dog best (0.950). The worst class of each network has 0.580 on average."),
    ("features", "On average over the classes, the mean of the set's images lies 0.500 "
     "[0.400, 0.600] standard deviations from that of real ones, those of a random subset 0.900."),
    ("confusion", "The most frequent mistake: 20.0% of class cat are taken for class dog."),
  ],
)  # fmt: skip
def test_the_sentence_under_a_figure_says_its_numbers(name, said):
  assert finding(name, REPORTS, NAMES) == said
  assert finding(name, {}, NAMES) == ""  # the picture goes without a sentence


def test_a_class_that_nobody_recognises_is_said():
  reports = {"fairness": REPORTS["fairness"] | {"scalars": {"worst_class_accuracy": 0.0}}}
  assert finding("fairness", reports).endswith(
    "The worst class of each network has 0.000 on average."
  )


def test_classes_without_names_have_numbers():
  assert "class 2 is recognised worst" in finding("fairness", REPORTS)


def test_a_figure_without_a_sentence():
  assert finding("images", REPORTS) == ""
  assert finding("a caption of the user", REPORTS) == ""


def test_every_axis_says_how_it_is_read():
  assert set(HOW_TO_READ) == set(EVALUATORS)
