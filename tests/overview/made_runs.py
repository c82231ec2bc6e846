"""Run folders as runs leave them, without running any."""

import json
import os

CONFIG = {
  "task": "distill",
  "method": "kip",
  "seed": 3,
  "data": {"name": "digits"},
  "synthetic": {"ipc": 10},
  "outer": {"num_steps": 20, "learning_rate": 0.1},
}


def report_of(name="accuracy", value=0.875, label="convnet", **scalars):
  """One report with one figure, its random subset, and an interval."""
  return {
    name: {
      "kind": name,
      "scalars": {f"random_subset_{label}": 0.5, label: value, **scalars},
      "spread": {},
      "interval": {label: [0.8, 0.95]},
      "per_model": {},
      "per_class": {},
      "settings": {},
    }
  }


def make_run(folder, date=0, reports=None, steps=None, facts=None, **config):
  """A run folder with a config, a checkpoint at `steps`, and a report where `reports` are given."""
  folder.mkdir(parents=True)
  config = CONFIG | config
  _write(folder / "config.json", {"config": config, "data_fingerprint": "abc"}, date)
  (folder / ".lock").touch()
  if steps is not None:
    (folder / "checkpoints" / str(steps)).mkdir(parents=True)
    os.utime(folder / "checkpoints", (date, date))
  if reports is not None:
    run = {"method": config["method"], "dataset": "digits", "ipc": 10, "seed": 3, "num_steps": 20}
    run |= {"seconds": {"data": 1.0, "distill": 2.0}, "hardware": {"device": "cpu"}}
    _write(folder / "report.json", {"run": run | (facts or {}), "reports": reports}, date)
    (folder / "report.html").write_text("<html></html>")
  return folder


def make_study(folder, date=0, **counts):
  """A study's folder with its tables, and cells that are run folders."""
  axes = {"dataset": ["digits"]}
  make_run(folder, date, task="study", method="study", preset="smoke", axes=axes)
  study = {"title": "A study on digits", "counts": counts}
  _write(folder / "study.json", study, date)
  (folder / "study.html").write_text("<html></html>")
  make_run(folder / "cells" / "kip", date, reports=report_of())
  return folder


def _write(path, content, date):
  path.write_text(json.dumps(content))
  os.utime(path, (date, date))
