"""Where distilled images lie among real ones, in the features of a network trained on the full set.

Features are standardised: each is divided by its standard deviation within classes, over real train
images; those that hardly vary are left out. Per class there are two numbers: how far the mean of a
set's images lies from that of real ones (root mean square over features, so that 1 is one standard
deviation in every feature), and the p-value of an energy test of whether the images could be real
ones. Even n real images lie about n ** -.5 away: the random subset says how far. Real images that
belong to one of the sets are not counted among those that it is held against.
"""

from typing import Any, Callable, Mapping

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np
import scipy  # its parts, which take a second, load on first use

from ddjax.augment.multiformation import decode_set
from ddjax.data.load import RealData
from ddjax.data.preprocess import as_pixels
from ddjax.fitting.predictions import in_blocks
from ddjax.statistics.membership_figures import clopper_pearson
from ddjax.statistics.two_sample import energy_test
from ddjax.types import Array, DatasetInfo, DistilledSet, Models, Report

SHOWN = ("distilled", "random_subset", "initial")
"""The sets that are looked at, where they are given; beside them stand the real images."""
_NETWORK_OF = {"full": "the full set", "random_subset": "a random subset"}
_RANDOM = "random_subset_distance"
_OVER = "classes"
_ROWS_AT_ONCE = 512
_SAME = 1e-3
"""Distance in standardised features, per feature, below which two images are the same."""
_LEAST_SCALE = 0.01
"""Of the largest standard deviation, below which a feature hardly varies."""


def make_features_evaluator(
  config: ConfigDict, info: DatasetInfo, feature_fn: Callable[[Any, Array], Array]
) -> Callable[..., Report]:
  """Distances, tests and pictures of sets in the features of a network.

  Args:
    config: the group `ddjax.config.audit.features`.
    info: of the data set.
    feature_fn: (params of one network, images f32[b h w c] as networks see them) -> f32[b d], of
      the first network of the models.
  Returns:
    measure(models, dataset, rng, context) -> Report of kind "features". `context.sets` is
    {name: DistilledSet} with a leading replica axis, of which the first entry is taken. `distance`
    is the mean over classes, `classes_apart` the share of classes with p < .05 (which is .05 or
    less on average where images are real ones), both with intervals over the classes, and
    `per_class` holds `distance` and `p_value`; `SET_KEY` are those of another set,
    `gain_over_random_distance` is the mean difference from the random subset.
    `settings["coordinates"]` are those of the pictures, {pca, tsne: {real and each set: [[x, y],
    ...]}}, and `settings["classes"]` the classes.
  Raises:
    ValueError: for fewer than two real images per class, fewer than 19 permutations, or no point
      to draw; by measure, if there is no distilled set or no network.
  """
  if config.num_real_per_class < 2:
    raise ValueError(f"features.num_real_per_class={config.num_real_per_class} must be at least 2.")
  if config.num_permutations < 19:
    raise ValueError(
      f"features.num_permutations={config.num_permutations} must be at least 19, or no p-value "
      "could be .05."
    )
  for field in ("num_real_shown", "perplexity"):
    if config[field] < 1:
      raise ValueError(f"features.{field}={config[field]} must be at least 1.")
  embed = jax.jit(feature_fn)

  def measure(
    models: Mapping[str, Mapping[str, Models]], dataset: RealData, rng: Array, context: Any
  ) -> Report:
    if "distilled" not in context.sets:
      raise ValueError(f"There is no set 'distilled' to measure among {sorted(context.sets)}.")
    network = next(iter(models["distilled"])) if "distilled" in models else None
    source = next((name for name in _NETWORK_OF if network in models.get(name, {})), None)
    if source is None or network is None:
      raise ValueError(
        f"Features need a network trained on the full set or a random subset; there are models of "
        f"{sorted(models)}."
      )
    params = jax.tree.map(lambda leaf: leaf[0], models[source][network].params)

    def features_of(images: np.ndarray) -> np.ndarray:
      return in_blocks(lambda rows: embed(params, rows), images, _ROWS_AT_ONCE).astype(np.float64)

    draws = np.random.default_rng(int(jax.random.bits(rng, dtype=jnp.uint32)))
    rows, real_classes = _real_rows(dataset.train_labels, config.num_real_per_class, draws)
    pixels = as_pixels(dataset.train_images[rows], dataset.max_value)
    real = features_of(np.asarray(dataset.preprocessing.forward(jnp.asarray(pixels))))
    scale = _within_class_std(real, real_classes)
    varies = scale > _LEAST_SCALE * scale.max()
    sets, classes = {}, {}
    for name in (name for name in SHOWN if name in context.sets):
      images, classes[name] = _first_entry(context.sets[name])
      sets[name] = features_of(images)
    settings = {
      "headline": ["distance", "classes_apart"],
      "features_of": f"{network}, trained on {_NETWORK_OF[source]}",
      "num_features": int(varies.sum()),
      "test": "energy distance, by permutation",
      "num_permutations": config.num_permutations,
      "entry": "the first of each set",
      "interval_over": {},
      "not_measured": {},
      "not_estimable": {},
    }
    report = Report("features", {}, {}, {}, {}, {}, settings)
    if varies.sum() < 2 or not all(np.isfinite(part).all() for part in (real, *sets.values())):
      for name in sets:
        for key in (_key(name, "distance"), _key(name, "classes_apart")):
          report.scalars[key] = None
          settings["not_measured"][key] = "the features do not vary, or are not finite"
      return report
    real = real[:, varies] / scale[varies]
    sets = {name: part[:, varies] / scale[varies] for name, part in sets.items()}
    is_other = _is_none_of(real, np.concatenate(list(sets.values())))
    real, real_classes = real[is_other], real_classes[is_other]
    settings["num_real_per_class"] = np.bincount(real_classes, minlength=info.num_classes).tolist()
    settings["num_left_out"] = int((~is_other).sum())
    by_class = _by_class(real, real_classes, info.num_classes)

    def p_value(own: np.ndarray, others: np.ndarray) -> float | None:
      return energy_test(own, others, config.num_permutations, draws)[1]

    for name in sets:
      own = _by_class(sets[name], classes[name], info.num_classes)
      _add_set(report, name, own, by_class, p_value)
    _add_difference(report, classes, info.num_classes)
    shown = draws.permutation(len(real))[: config.num_real_shown]
    points = {"real": real[shown]} | sets
    settings["classes"] = {"real": real_classes[shown].tolist()} | {
      name: of_set.tolist() for name, of_set in classes.items()
    }
    settings |= _pictures(points, real, config.perplexity, int(draws.integers(2**31)))
    return report

  return measure


def _by_class(features: np.ndarray, classes: np.ndarray, num_classes: int) -> list[np.ndarray]:
  return [features[classes == label] for label in range(num_classes)]


def _add_set(
  report: Report,
  name: str,
  features: list[np.ndarray],
  real_features: list[np.ndarray],
  p_value: Callable[[np.ndarray, np.ndarray], float | None],
) -> None:
  """The two numbers of every class, and their summary over classes, of features by class."""
  distances, p_values, reasons = [], [], {}
  for label, (own, others) in enumerate(zip(features, real_features, strict=True)):
    if not len(own) or not len(others):
      distances.append(None)
      p_values.append(None)
      reasons[str(label)] = f"{len(own)} images of the set, {len(others)} real ones"
      continue
    missed = own.mean(axis=0) - others.mean(axis=0)
    distances.append(float(np.sqrt(np.mean(missed**2))))
    p_values.append(p_value(own, others))
    if p_values[-1] is None:
      reasons[str(label)] = f"{len(own)} images among {len(others)} real ones cannot reach .05"
  report.per_class[_key(name, "distance")] = distances
  report.per_class[_key(name, "p_value")] = p_values
  if reasons:
    report.settings["not_estimable"][_key(name, "p_value")] = reasons
  known = [p for p in p_values if p is not None]
  for figure, values, interval in (
    ("distance", [d for d in distances if d is not None], _mean_interval),
    ("classes_apart", [p < 0.05 for p in known], _share_interval),
  ):
    key = _key(name, figure)
    report.scalars[key] = float(np.mean(values)) if values else None
    if not values:
      report.settings["not_measured"][key] = "no class has enough images"
    elif (ends := interval(values)) is not None:
      report.interval[key] = ends
      report.settings["interval_over"][key] = _OVER


def _add_difference(report: Report, classes: Mapping[str, np.ndarray], num_classes: int) -> None:
  """How much farther the distilled images lie than random ones, class by class.

  Means of more images lie nearer for that alone: without equal counts there is no difference.
  """
  if "random_subset" not in classes:
    return
  key = "gain_over_random_distance"
  own, random = (
    np.bincount(classes[name], minlength=num_classes) for name in ("distilled", "random_subset")
  )
  pairs = zip(report.per_class["distance"], report.per_class[_RANDOM], strict=True)
  differences = [a - b for a, b in pairs if a is not None and b is not None]
  ends = _mean_interval(differences)
  report.scalars[key] = None
  if (own != random).any():
    reason = (
      f"the set has {own.sum()} images, a random subset {random.sum()}: means of fewer differ more"
    )
    report.settings["not_measured"][key] = reason
  elif ends is None:
    report.settings["not_measured"][key] = "fewer than two classes have images of both"
  else:
    report.scalars[key], report.interval[key] = float(np.mean(differences)), ends
    report.settings["interval_over"][key] = _OVER


def _mean_interval(values: list[float]) -> list[float] | None:
  """Student's 95 % interval of a mean; None for fewer than two values."""
  if len(values) < 2:
    return None
  half = scipy.stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
  return [float(np.mean(values) - half), float(np.mean(values) + half)]


def _share_interval(values: list[bool]) -> list[float]:
  """The exact 95 % interval of a share."""
  return list(map(float, clopper_pearson(int(np.sum(values)), len(values))))


def _key(name: str, figure: str) -> str:
  """The report's name for a set's figure."""
  return figure if name == "distilled" else f"{name}_{figure}"


def _pictures(
  points: Mapping[str, np.ndarray], real: np.ndarray, perplexity: float, seed: int
) -> dict[str, Any]:
  """Two-dimensional coordinates: PCA of real images, and t-SNE of all points together."""
  from sklearn.decomposition import PCA
  from sklearn.manifold import TSNE
  from threadpoolctl import threadpool_limits

  every = np.concatenate(list(points.values())).astype(np.float32)
  stops = np.cumsum([len(of_set) for of_set in points.values()])[:-1]
  pca = PCA(2, svd_solver="full").fit(real)
  perplexity = min(perplexity, (len(every) - 1) / 3)
  tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=seed)
  with threadpool_limits(1):  # threads that wait for each other make small pictures slow
    made = {"pca": pca.transform(every), "tsne": tsne.fit_transform(every)}
  return {
    "perplexity": perplexity,
    "explained_variance": pca.explained_variance_ratio_.tolist(),
    "coordinates": {
      kind: {
        name: np.round(part.astype(np.float64), 3).tolist()
        for name, part in zip(points, np.split(coordinates, stops))
      }
      for kind, coordinates in made.items()
    },
  }


def _real_rows(
  labels: np.ndarray, per_class: int, draws: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
  """Rows i[q] of up to so many train images of each class, drawn at random, and their classes."""
  order = draws.permutation(len(labels))
  kept = [order[labels[order] == label][:per_class] for label in np.unique(labels)]
  rows = np.concatenate(kept)
  return rows, labels[rows]


def _first_entry(distilled: DistilledSet) -> tuple[np.ndarray, np.ndarray]:
  """Images f32[n h w c] of the first entry, grids decoded, and the classes of their labels."""
  first = DistilledSet(distilled.images[:1], distilled.labels[:1], distilled.info)
  decoded = decode_set(first)
  return np.asarray(decoded.images[0], np.float32), np.asarray(decoded.labels[0]).argmax(axis=1)


def _within_class_std(features: np.ndarray, classes: np.ndarray) -> np.ndarray:
  """The standard deviation f64[d] of each feature about its class's mean, over all classes."""
  total, freedom = np.zeros(features.shape[1]), 0
  for label in np.unique(classes):
    own = features[classes == label]
    total += ((own - own.mean(axis=0)) ** 2).sum(axis=0)
    freedom += len(own) - 1
  return np.sqrt(total / max(freedom, 1))


def _is_none_of(real: np.ndarray, images: np.ndarray) -> np.ndarray:
  """Whether each real image is none of the images, bool[q]."""
  distances = scipy.spatial.distance.cdist(real, images) / np.sqrt(real.shape[1])
  return distances.min(axis=1) > _SAME
