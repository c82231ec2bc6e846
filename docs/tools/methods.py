"""Tables of methods, from `docs/results/methods.toml` and the measured figures that it names."""

import functools
import json
import tomllib
from typing import Any, Mapping

from docs.tools import h200, tables

_IPCS = (1, 10)


@functools.cache
def methods() -> tuple[dict[str, Any], ...]:
  """The entries of `methods.toml`, published figures by whole numbers of images."""
  found = tomllib.loads((h200.FOLDER / "methods.toml").read_text())["method"]
  for one in found:
    one["published"] = {int(ipc): value for ipc, value in one["published"].items()}
  return tuple(found)


@functools.cache
def cpu_tables() -> dict[str, Any]:
  """Tables of `cpu-2026-11.json` by name."""
  return json.loads((h200.FOLDER / "cpu-2026-11.json").read_text())["tables"]


def measured(where: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
  """A measured value and its hardware.

  Args:
    where: an entry of `measured` in `methods.toml`.
  Raises:
    ValueError: if it does not name exactly one figure.
  """
  if "h200" in where:
    row = next(row for row in h200.rows() if row["name"] == where["h200"])
    run, _ = h200.run_of(row["name"]) or ({}, "")
    value = h200.value(run, *row["figure"]) if run else None
    if value is None:
      raise ValueError(f"methods.toml: {where['h200']} was not run on the H200.")
    return value, "H200"
  found = tables.matching(cpu_tables()[where["table"]], where["where"])
  if len(found) != 1:
    raise ValueError(f"methods.toml: {where} fits {len(found)} rows.")
  return found[0][where["figure"]], "2 CPU cores"


def overview() -> tables.Table:
  """The table of the README: a row a method, CIFAR-10 at ipc 1 and 10."""
  made = []
  for one in methods():
    published = [one["published"].get(ipc) for ipc in _IPCS]
    words = " / ".join("–" if value is None else tables.figure(value) for value in published)
    ours = {entry["ipc"]: measured(entry) for entry in one["measured"] if entry["ipc"] in _IPCS}
    cells = [
      tables.cell_text(ours[ipc][0], "number") if ipc in ours else "not run" for ipc in _IPCS
    ]
    hardware = " / ".join(dict.fromkeys(device for _, device in ours.values()))
    link = one["name"]
    if "page" in one:
      link = f"[{link}](docs/methods/{one['page']}.md)"
    note = f" ({one['note']})" if one.get("note") else ""
    made.append([f"{link}{note}", str(one.get("year", "")) or None, f"`{one['config']}`",
                 words, *cells, hardware or None])  # fmt: skip
  columns = ("method", "year", "`--config=`", "published, ipc 1 / 10",
             "measured, ipc 1", "measured, ipc 10", "hardware")  # fmt: skip
  return tables.make(dict.fromkeys(columns, "text"), made)


def of_page(page: str) -> tables.Table:
  """Every measured accuracy of the methods of a page, beside the published one."""
  names = [one for one in methods() if one.get("page") == page]
  made = []
  for one in names:
    for entry in one["measured"]:
      if "h200" in entry:
        made.append(_h200_row(one, entry["h200"]))
    for name, table in cpu_tables().items():
      if name in ("kernel_methods", "digits", "cifar10_short", "mnist", "coresets"):
        made += _cpu_rows(one, table)
  columns = {"set": "text", "data": "text", "ipc": "count", "length": "text",
             "test accuracy": "number", "gain over random": "signed", "published": "number",
             "hardware, date": "text"}  # fmt: skip
  return tables.make(columns, made)


def _h200_row(one: Mapping[str, Any], name: str) -> list[Any]:
  row = next(row for row in h200.rows() if row["name"] == name)
  run, date = h200.run_of(name)
  evaluator, key = row["figure"]
  steps = run.get("num_steps", row["steps"])
  length = f"{steps} of {row['steps']} steps" if steps != row["steps"] else f"{steps} steps"
  return [
    one["name"], "CIFAR-10", row["ipc"], length, h200.value(run, evaluator, key),
    h200.value(run, evaluator, f"gain_over_random_{key}"), row["published"], f"H200, {date}",
  ]  # fmt: skip


def _cpu_rows(one: Mapping[str, Any], table: Mapping[str, Any]) -> list[list[Any]]:
  made = []
  for row in tables.matching(table, {}):
    label = row.get("method") or row.get("choice")
    if label not in one.get("rows", ()):
      continue
    accuracy = row.get("test accuracy") or row.get("accuracy") or row.get("mean")
    length = row.get("steps, time") or row.get("steps") or row.get("distillation")
    published = row.get("published")
    made.append([
      label, row.get("data") or table.get("data"), row["ipc"], length, accuracy,
      row.get("gain over random"), published, f"2 CPU cores, {table['date']}",
    ])  # fmt: skip
  return made
