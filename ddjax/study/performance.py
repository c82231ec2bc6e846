"""Question 1 of a study: how accurate networks get, beside baselines, and what that costs."""

from typing import Any, Mapping, Sequence

from ddjax.statistics import over_seeds
from ddjax.study import conditions as of
from ddjax.study import published, worth
from ddjax.study import section as page
from ddjax.study.conditions import Condition
from ddjax.study.records import Record
from ddjax.wording import duration

BASELINES = ("random", "herding", "k_center", "k_means")
QUESTION = "Performance: how accurate do networks become on a distilled set, and does it pay?"
_KERNEL = "Accuracies are those of kernel ridge regression: this study trained no networks."
_PREFIXES = {
  "random": "random_subset_",
  "herding": "herding_",
  "k_center": "k_center_",
  "k_means": "k_means_",
  "full set": "full_",
}

_MEMORY_IS_COUNTED = ("kip", "label_solve", "mtt")
"""Methods whose estimate holds the peak of a step; that of the others is the data alone."""


_MOST_TOLD = 6  # sets of the Pareto front in its sentence


def build(
  records: Sequence[Record], config: Mapping[str, Any], is_kernel: bool = False
) -> dict[str, Any]:
  """The section.

  Args:
    records: of the whole study.
    config: of the study.
    is_kernel: whether accuracies are those of kernel regression, see `conditions.with_accuracy`.
  Returns:
    see `ddjax.study.section`.
  """
  shown = sorted(of.conditions(records, "method"), key=page.sort_key)
  methods = [one for one in shown if of.by_seed(one, "accuracy", "")]
  shown = [one for one in shown if one in methods or of.by_seed(one, "kernel", "test_accuracy")]
  if not methods:
    return page.section("performance", QUESTION, page.NOTHING)
  baselines = of.conditions(records, "baseline")
  full = of.conditions(records, "full")
  rows, gains = _rows(shown, baselines, full, is_kernel)
  found = worth.build(records, methods)
  answer = " ".join(part for part in (_answer(shown, rows, gains), worth.sentence(found)) if part)
  names = of.varying(shown)
  figures = [_dots(methods, baselines, full), _pareto(methods, records)]
  if found:
    figures.append(worth.figure(found))
  return page.section(
    "performance",
    QUESTION,
    answer,
    notes=[
      *([_KERNEL] if is_kernel else of.different_networks(methods, "accuracy")),
      *_of_experts(records),
      *([worth.NOTE] if found else []),
    ],
    tables=[
      page.table(
        "accuracy",
        "Test accuracy of networks trained on each set, beside real subsets of the same size, the "
        "full train set and published figures. The gain is paired; its p-value is corrected for "
        f"the {sum(one is not None for one in gains)} comparisons of this table (Holm).",
        [
          *page.factor_columns(names),
          ("accuracy", "number"),
          ("seeds", "count"),
          ("random subset", "number"),
          ("gain over it", "signed"),
          ("p, Holm", "p"),
          ("herding", "number"),
          ("k-centre", "number"),
          ("k-means", "number"),
          ("full set", "number"),
          ("by kernel regression", "number"),
          ("published", "text"),
        ],
        rows,
      ),
      worth.table(found, names) if found else None,
      _costs(shown, names, records),
    ],
    figures=figures,
  )


def level(
  condition: Condition, method: str, baselines: Sequence[Condition], report: str, key: str
) -> dict[str, Any] | None:
  """A baseline's figure beside a condition: of its own cells, else of the condition's reports.

  Of a random subset the other way round: the gain beside it is over that of the reports.
  """
  own = of.baseline_of(condition, baselines, method)
  of_cells = of.estimated(own, report, key) if own else None
  of_reports = of.estimated(condition, report, key, _PREFIXES[method])
  return of_reports or of_cells if method == "random" else of_cells or of_reports


def _rows(methods, baselines, full, is_kernel: bool):
  """Rows of the table of accuracies, and the gain over random of each (None without)."""
  names = of.varying(methods)
  gains = worth.gains_over_random(methods, baselines)
  rows = []
  for one, gain in zip(methods, gains):
    factors = one.factors
    source = published.find(*(factors.get(name) for name in ("method", "dataset", "ipc")))
    beside = {name: level(one, name, [*baselines, *full], "accuracy", "") for name in _PREFIXES}
    rows.append(
      [
        *page.factor_cells(one, names),
        of.estimated(one, "accuracy", ""),
        len(of.by_seed(one, "accuracy", "")),
        beside["random"],
        of.as_cell(gain[0]) if gain else None,
        gain[1] if gain else None,
        *(beside[name] for name in ("herding", "k_center", "k_means", "full set")),
        None if is_kernel else of.estimated(one, "kernel", "test_accuracy"),
        page.published_text(source),
      ]
    )
  return rows, gains


def _answer(methods: Sequence[Condition], rows, gains) -> str:
  """The best set, its gain, and how many comparisons stand."""
  first = len(of.varying(methods)) + 1
  alike = of.of_one_problem(
    [one for one, row in zip(methods, rows) if row[first] is not None], of.PROBLEM
  )
  accurate = [i for i, one in enumerate(methods) if one in alike]
  best = max(accurate, key=lambda i: rows[i][first]["value"])
  one, row = methods[best], rows[best]
  text = (
    f"{of.describe(one.factors, of.varying(methods))} reaches the highest accuracy, "
    f"{page.with_interval(row[first])} "
    f"({of.seeds_in_words([one], 'accuracy', '')})"
    f"{of.problem_in_words([m for m, r in zip(methods, rows) if r[first] is not None], of.PROBLEM)}"
  )
  if (found := gains[best]) is not None:
    gain = of.as_cell(found[0])
    text += f", {page.with_interval(gain, is_signed=True)} against random subsets of equal size"
    if found[1] is not None and found[1] >= over_seeds.LEVEL:
      text += " (a gain that is not shown after Holm's correction)"
  if row[first + 8] is not None:
    text += f"; the full set gives {page.with_interval(row[first + 8])}"
  tested = [found for found in gains if found is not None and found[1] is not None]
  if tested:
    above = sum(p < over_seeds.LEVEL and gain.value > 0 for gain, p in tested)
    below = sum(p < over_seeds.LEVEL and gain.value < 0 for gain, p in tested)
    text += (
      f". Of {len(tested)} distilled sets, {above} {page.are(above)} shown to be better than a "
      f"random subset of equal size and {below} worse, after Holm's correction"
      f"{_by_ipc(methods, gains) if above else ''}"
    )
  return f"{text} ([[accuracy]], [[accuracy-figure]])."


def _by_ipc(methods: Sequence[Condition], gains) -> str:
  """`; of 12 with 1 image a class 10 are better, of 12 with 10 none`: nothing for a single ipc."""
  counts: dict[Any, list[int]] = {}
  for one, found in zip(methods, gains):
    if found is not None and found[1] is not None:
      row = counts.setdefault(one.factors.get("ipc"), [0, 0])
      row[0] += 1
      row[1] += found[1] < over_seeds.LEVEL and found[0].value > 0
  if len(counts) < 2:
    return ""
  told = [f"{better} of the {num} with {ipc} a class" for ipc, (num, better) in counts.items()]
  return f" (better are {page.joined(told)})"


def cost_of(record: Record, records: Sequence[Record] = ()) -> dict[str, float | None]:
  """What it took to make the set of a cell.

  Args:
    record: the cell.
    records: of the whole study; a cell that follows expert trajectories pays its share of those of
      the same data and seed, split evenly over the finished cells that follow them.
  Returns:
    flops as estimated from the program, seconds as taken, memory likewise estimated where the
    method's is known.
  """
  run = record.report["run"] if record.report else {}
  estimates, seconds = run.get("estimates") or {}, run.get("seconds") or {}
  costs = [
    ((estimates.get("flops") or {}).get(stage), seconds.get(stage))
    for stage in ("distill", "experts")
  ]
  is_known = record.factors.get("method") in _MEMORY_IS_COUNTED
  return {
    "flops": _total([flops for flops, _ in costs], _shares(record, records, "flops")),
    "seconds": _total([taken for _, taken in costs], _shares(record, records, "seconds")),
    "memory": estimates.get("memory_bytes") if is_known else None,
    "whole": record.seconds,
  }


def _total(own: Sequence[float | None], shares: Sequence[float | None]) -> float | None:
  """The sum of what is known of a cell's own, and of its shares; None where one of these is not."""
  known = [value for value in own if value is not None]
  added = [value for value in shares if value is not None]
  return float(sum(known + added)) if known and len(added) == len(shares) else None


def _follows(record: Record) -> bool:
  """Whether a finished cell follows expert trajectories that it did not train itself."""
  run = record.report["run"] if record.report else {}
  flops = (run.get("estimates") or {}).get("flops") or {}
  return "experts" in (run.get("seconds") or {}) and "experts" not in flops


def _shares(record: Record, records: Sequence[Record], name: str) -> list[float | None]:
  """A cell's share of the "flops" or "seconds" of its experts, in a list; empty without any."""
  if not _follows(record):
    return []
  experts = [one for one in records if one.role == "experts" and _is_shared(record, one)]
  start = f"experts-{record.factors.get('method')}-"
  experts = [one for one in experts if one.name.startswith(start)] or experts
  found: list[float | None] = []
  for one in experts[:1]:
    run = one.report["run"] if one.report else {}
    taken = (run.get("seconds") or {}).get("train", one.seconds)
    flops = ((run.get("estimates") or {}).get("flops") or {}).get("train")
    followers = [
      cell
      for cell in records
      if cell.role == "method"
      and _follows(cell)
      and _is_shared(cell, one)
      and (not one.name.startswith(start) or cell.factors["method"] == record.factors["method"])
    ]
    value = {"flops": flops, "seconds": taken}[name]
    found.append(None if value is None else value / max(len(followers), 1))
  return found


def _is_shared(record: Record, experts: Record) -> bool:
  """Whether experts are of a cell's data, classes and seed, and preprocessing where they say."""
  names = ["dataset", "num_classes", "seed"]
  if experts.factors.get("preprocessing") is not None:
    names.append("preprocessing")
  return all(record.factors.get(name) == experts.factors.get(name) for name in names)


def _of_experts(records: Sequence[Record]) -> list[str]:
  """What the experts took that cells share, a sentence where there are any."""
  taken = [record.seconds for record in records if record.role == "experts" and record.seconds]
  if not taken:
    return []
  return [
    f"Expert trajectories took {duration(sum(taken))}; the costs of the cells that follow them "
    "hold an even share each ([[cost]], [[pareto]])."
  ]


def _mean_cost(condition: Condition, records: Sequence[Record]) -> dict[str, float | None]:
  costs = [cost_of(record, records) for record in condition.records.values()]
  means = {}
  for name in costs[0]:
    known = [value for cost in costs if (value := cost[name]) is not None]
    means[name] = sum(known) / len(known) if known else None
  # Seeds may differ in what is measured of them, so that a mean would be of unlike cells.
  means["whole"] = max((cost["whole"] for cost in costs if cost["whole"]), default=None)
  return means


def _costs(
  methods: Sequence[Condition], names: Sequence[str], records: Sequence[Record]
) -> dict[str, Any]:
  rows = []
  for one in methods:
    cost = _mean_cost(one, records)
    devices = dict.fromkeys(record.device for record in one.records.values() if record.device)
    rows.append(
      [
        *page.factor_cells(one, names),
        *(cost[name] for name in ("flops", "seconds", "memory", "whole")),
        ", ".join(devices) or None,
      ]
    )
  return page.table(
    "cost",
    "What a set costs to make, means over seeds: operations as counted from the program, times as "
    "taken, compilation included; memory is the peak as counted from the program, a dash where it "
    "is not known.",
    [
      *page.factor_columns(names),
      ("operations", "flops"),
      ("time to distil", "seconds"),
      ("memory", "bytes"),
      ("whole cell, longest seed", "seconds"),
      ("device", "text"),
    ],
    rows,
  )


def _dots(methods, baselines, full) -> dict[str, Any]:
  """Accuracy of every set with interval; one row a condition, one mark a baseline."""
  marks = []
  names = of.varying(methods)
  for one in methods:
    beside = {
      of.NAMES[name]: level(one, name, [*baselines, *full], "accuracy", "")
      for name in ("random", "herding", "k_means", "full set")
    }
    marks.append(
      {
        "label": of.describe(one.factors, [name for name in names if name != "ipc"]),
        "text": of.describe(one.factors, names),
        "group": of.describe({"ipc": one.factors.get("ipc")}, ("ipc",)),
        "own": of.estimated(one, "accuracy", ""),
        "beside": {name: cell for name, cell in beside.items() if cell},
      }
    )
  alike = of.of_one_problem(methods, of.PROBLEM)
  best, _ = max(
    (pair for pair in zip(marks, methods) if pair[1] in alike),
    key=lambda pair: pair[0]["own"]["value"],
  )
  return page.figure(
    "accuracy-figure",
    "dots",
    f"{best['text']} is the most accurate set of "
    f"{len(alike)}. Bars hold 95 % intervals; open marks are real subsets of equal size and the "
    "full set.",
    "Test accuracy of each distilled set with its interval, one row a set, beside random subsets, "
    "herding, k-means and the full set.",
    {"marks": marks, "axis": "test accuracy"},
  )


def _pareto(methods: Sequence[Condition], records: Sequence[Record]) -> dict[str, Any] | None:
  """Accuracy against cost, and which sets no other beats in both; one panel a problem."""
  costs = [_mean_cost(one, records) for one in methods]
  unit = "flops" if all(cost["flops"] for cost in costs) else "seconds"
  varying = of.varying(methods)
  shared = [name for name in of.shared_names(methods) if name in of.PROBLEM]
  panels: dict[str, list[dict[str, Any]]] = {}
  for one, cost in zip(methods, costs):
    if cost[unit]:
      title = of.describe({name: one.factors.get(name) for name in shared}, shared)
      panels.setdefault(title, []).append(
        {
          "label": one.method,
          "text": of.describe(one.factors, varying),
          "ipc": one.factors.get("ipc"),
          "own": of.estimated(one, "accuracy", ""),
          "cost": cost[unit],
        }
      )
  if not panels:
    return None
  best = {}
  for title, points in panels.items():
    front = pareto_front([(point["cost"], point["own"]["value"]) for point in points])
    best[title] = [points[i]["text"] for i in front]
    for i, point in enumerate(points):
      point["on_front"] = i in front
  largest = max(panels, key=lambda title: len(panels[title]))
  told, left = best[largest][:_MOST_TOLD], len(best[largest][_MOST_TOLD:])
  told += [f"{left} others"] if left > 1 else best[largest][_MOST_TOLD:]
  start = f"{largest[0].upper()}{largest[1:]}, no" if len(panels) > 1 else "No"
  return page.figure(
    "pareto",
    "pareto",
    f"{start} set is both cheaper and more accurate than {page.joined(told)}.",
    "Test accuracy of each distilled set against the cost of making it, on a logarithmic axis; a "
    "line joins the sets that none beats in both.",
    {"panels": panels, "unit": unit},
  )


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
  """Which (cost, accuracy) no other beats, from the cheapest on."""
  order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
  front: list[int] = []
  for i in order:
    if not front or points[i][1] > points[front[-1]][1]:
      front.append(i)
  return front
