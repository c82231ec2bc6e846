"""Membership inference: from what a model says of an example to a score that is high for members.

Every score here is larger for an example that the attacker takes for a member. Two kinds:

* signals of one model alone: loss (Yeom et al. 2018), confidence (Salem et al. 2019), entropy and
  modified entropy (Song, Mittal 2021, "Systematic Evaluation of Privacy Risks of Machine Learning
  Models"), and the logit-scaled confidence of Carlini et al. 2022;
* attacks with shadow models, that is, other runs of the whole pipeline on splits of which the
  attacker knows the members: the likelihood ratio attack (LiRA; Carlini et al. 2022, "Membership
  Inference Attacks From First Principles"), and a classifier trained on what shadow models say
  (Shokri et al. 2017).

Shapes: s splits, N examples, k classes. Each split is the target once, attacked with the other
s - 1 as shadows. NumPy and scikit-learn: a one-off on arrays of at most a few million numbers.
"""

from typing import Any, Callable

from jaxtyping import Bool, Float, Integer
import numpy as np
import scipy  # its parts, which take a second, load on first use

SIGNALS = ("loss", "confidence", "entropy", "modified_entropy")
LIRA = ("lira", "lira_offline", "lira_fixed", "lira_offline_fixed")
CLASSIFIERS = ("shadow_logistic", "shadow_mlp")
NUM_FOLDS = 4
_MOST_ROWS = 20_000  # that a classifier learns from
_TINY = 1e-12


def signals(
  logits: Float[np.ndarray, "*m k"], labels: Integer[np.ndarray, "*m"]
) -> dict[str, Float[np.ndarray, "*m"]]:
  """Scores of single predictions, by name.

  Args:
    logits: of one model for each example; they go through a softmax.
    labels: of the examples, in [0, k).
  Returns:
    {"loss": log p_y, "confidence": max p, "entropy": sum p log p, "modified_entropy":
    (1 - p_y) log p_y + sum_{j != y} p_j log(1 - p_j), "logit": log p_y - log sum_{j != y} p_j}.
    The last is the statistic of LiRA. Each is high where a model is sure of the true class.
  """
  logs = scipy.special.log_softmax(np.asarray(logits, np.float64), axis=-1)
  own = np.take_along_axis(logs, labels[..., None], axis=-1)[..., 0]
  is_own = np.arange(logits.shape[-1]) == labels[..., None]
  others = scipy.special.logsumexp(np.where(is_own, -np.inf, logs), axis=-1)  # log(1 - p_y)
  p = np.exp(logs)
  log_rest = np.log(np.maximum(-np.expm1(logs), _TINY))  # log(1 - p_j)
  rest = np.where(is_own, 0.0, p * log_rest).sum(axis=-1)
  return {
    "loss": own,
    "confidence": logs.max(axis=-1),
    "entropy": (p * logs).sum(axis=-1),
    "modified_entropy": np.exp(others) * own + rest,
    "logit": own - others,
  }


def lira(
  statistic: Float[np.ndarray, "s N"],
  is_member: Bool[np.ndarray, "s N"],
  *,
  is_online: bool = True,
  has_fixed_variance: bool = False,
) -> Float[np.ndarray, "s N"]:
  """The likelihood ratio attack on each split, the others being its shadow models.

  For an example, the statistics of shadow models that had it, and of those that had not, are taken
  for normal. Online (Carlini et al. 2022, eq. 4): log N(x; in) - log N(x; out). Offline (eq. 5):
  how far x lies above the models without it, (x - mean_out) / std_out, which grows with the
  one-sided p-value's complement. A fixed variance is one for all examples (sect. VI), the mean of
  the variances within the examples; it is the better choice for few shadow models.

  Args:
    statistic: of each split's model for each example, "logit" of `signals`.
    is_member: whether the example was among the split's real set.
    is_online: whether shadow models that had the example are used.
    has_fixed_variance: whether all examples share a variance.
  Returns:
    the scores; NaN where a mean (or a variance, two values) cannot be estimated from the shadows.
  """
  x = np.asarray(statistic, np.float64)
  out_mean, out_variance = _leave_one_out(x, ~is_member, has_fixed_variance)
  if not is_online:
    return (x - out_mean) / np.sqrt(out_variance)
  in_mean, in_variance = _leave_one_out(x, is_member, has_fixed_variance)
  return (
    (x - out_mean) ** 2 / out_variance
    - (x - in_mean) ** 2 / in_variance
    + np.log(out_variance / in_variance)
  ) / 2


def _leave_one_out(x: np.ndarray, chosen: np.ndarray, is_shared: bool):
  """Mean and variance f[s N] of an example over the chosen of the other splits."""
  others = chosen.sum(axis=0) - chosen
  centre = x.mean(axis=0)  # subtracted first: sums of squares would cancel
  centred = (x - centre) * chosen
  with np.errstate(invalid="ignore", divide="ignore"):
    mean = (centred.sum(axis=0) - centred) / others
    squares = (centred**2).sum(axis=0) - centred**2
    sums = np.maximum(squares - others * mean**2, 0.0)
    variance = sums / (others - 1)
    if is_shared:  # of each target split: over all examples of the others
      usable = others >= 2
      total = np.where(usable, sums, 0.0).sum(axis=1)
      variance = (total / np.where(usable, others - 1, 0).sum(axis=1))[:, None]
  mean = np.where(others >= 1, mean + centre, np.nan)
  variance = np.where((others >= 2) | is_shared, np.maximum(variance, _TINY), np.nan)
  return mean, variance


def shadow_classifier(
  logits: Float[np.ndarray, "s N k"],
  labels: Integer[np.ndarray, " N"],
  is_member: Bool[np.ndarray, "s N"],
  *,
  kind: str,
  seed: int,
) -> Float[np.ndarray, "s N"]:
  """Attack by a classifier that learned from shadow models who is a member (Shokri et al. 2017).

  Splits fall into `NUM_FOLDS` folds; those of a fold are attacked by a classifier that learned from
  the others. It sees the sorted log-probabilities, the scores of `signals` and the class, where
  the original trains one classifier for each class.

  Args:
    logits: of each split's model for each example.
    labels: of the examples.
    is_member: whether the example was among the split's real set.
    kind: "shadow_logistic" or "shadow_mlp" (one hidden layer of 32).
    seed: of the rows that are learned from (at most 20,000), and of the network.
  Returns:
    the classifier's decision value.
  Raises:
    ValueError: for an unknown kind, or fewer than two splits.
  """
  if kind not in CLASSIFIERS:
    raise ValueError(f"Unknown shadow classifier {kind!r}; known are {', '.join(CLASSIFIERS)}.")
  num_splits, num_examples, num_classes = logits.shape
  if num_splits < 2:
    raise ValueError(f"A shadow-model attack needs at least 2 splits, not {num_splits}.")
  every = np.broadcast_to(labels, (num_splits, num_examples))
  parts = [np.sort(scipy.special.log_softmax(np.asarray(logits, np.float64), axis=-1), axis=-1)]
  parts += [score[..., None] for score in signals(logits, every).values()]
  parts += [np.eye(num_classes)[every]]
  features = np.concatenate(parts, axis=-1)
  rng = np.random.default_rng(seed)
  fold = np.arange(num_splits) % min(NUM_FOLDS, num_splits)
  scores = np.empty((num_splits, num_examples))
  for number in np.unique(fold):
    rows = np.argwhere(np.broadcast_to((fold != number)[:, None], is_member.shape))
    if len(rows) > _MOST_ROWS:
      rows = rows[rng.choice(len(rows), _MOST_ROWS, replace=False)]
    decide = _learn(kind, features[tuple(rows.T)], is_member[tuple(rows.T)], seed)
    targets = features[fold == number]
    scores[fold == number] = decide(targets.reshape(-1, features.shape[-1])).reshape(
      targets.shape[:2]
    )
  return scores


def _learn(kind: str, inputs: np.ndarray, targets: np.ndarray, seed: int) -> Callable:
  """(features f[b d]) -> decision values f[b] of a fitted classifier."""
  from sklearn.linear_model import LogisticRegression
  from sklearn.neural_network import MLPClassifier
  from sklearn.pipeline import make_pipeline
  from sklearn.preprocessing import StandardScaler

  if kind == "shadow_logistic":
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return model.fit(inputs, targets).decision_function
  batch_size: Any = max(1, min(1000, len(inputs) // 2))  # of up to 20,000 rows
  network = MLPClassifier(
    (32,),
    early_stopping=True,
    max_iter=100,
    batch_size=batch_size,
    learning_rate_init=0.005,
    random_state=seed,
  )
  model = make_pipeline(StandardScaler(), network).fit(inputs, targets)
  return lambda rows: scipy.special.logit(
    np.clip(model.predict_proba(rows)[:, 1], _TINY, 1 - _TINY)
  )
