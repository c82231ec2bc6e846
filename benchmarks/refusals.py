"""How long it takes until a wrong input is refused: each a command, as a user starts it.

  python -m benchmarks.refusals                 all, one after the other
  python -m benchmarks.refusals --only=npz      those whose name holds a word

Prints seconds, those of processors, exit status and the sentence; those above `--limit` are named
at the end. On a machine that others use the seconds are more, those of processors hardly. The cache
folder is empty unless `DDJAX_CACHE_DIR` says otherwise.
"""

import os
from pathlib import Path
import resource
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

from absl import app, flags
import numpy as np
from PIL import Image

from ddjax.io.torch_file import write_torch

ONLY = flags.DEFINE_string("only", "", "A word that a row's name must hold.")
LIMIT = flags.DEFINE_float("limit", 6.0, "Seconds that a refusal may take.")
_ROOT = Path(__file__).parents[1]
_SMALL = ("num_devices=1", "evaluators=kernel", "outer.num_steps=4", "trainer.tensorboard=False")


class Case(NamedTuple):
  """A command that must fail: its name, its config, and fields behind `--config.`."""

  name: str
  config: str
  fields: tuple[str, ...] = ()


def settings() -> list[Case]:
  """What `tests/bad_input_test.py` refuses, as fields of a small run of KIP."""
  fields = (
    "data.name=cifar11", "kernel.family=fcn", "kernel.kind=ntkk", "method=kipp",
    "evaluators=acuracy", "synthetic.ipc=99", "synthetic.ipc=0", "synthetic.init=reel",
    "outer.target_batch_size=33", "outer.target_batch_size=640", "num_devices=64",
    "outer.schedule=cosin", "outer.num_steps=0", "ridge=0.0", "precision=float16",
    "augment.fraction=1.5", "data.preprocessing=zca", "data.validation_fraction=1.0",
    "trainer.steps_per_call=0", "trainer.log_every_steps=0",
    "accuracy_evaluation.protocol=quik", "accuracy_evaluation.networks=vggg",
    "num_random_subsets=0", "num_replicas=0", "resume_from=nowhere", "memory_budget_gb=1e-9",
    "seed=-1", "outer.learning_rate=nan", "ridge=inf", "precision=bfloat16", "data.image_size=32",
  )  # fmt: skip
  networks = ("evaluators=accuracy",)
  return (
    [Case("misspelt field", "kip.py:fake", ("outer.lerning_rate=1.0",))]
    + [
      Case(field, "kip.py:fake,ipc=2", (*_SMALL, *networks * field.startswith("accuracy"), field))
      for field in fields
    ]
    + [
      Case("no such config", "kop.py"),
      Case("augment.max_shift=8", "kip.py:fake", ("augment.max_shift=8", "augment.fraction=0.5")),
    ]
  )


def own_data(folder: Path) -> list[Case]:
  """The rows of a user's own data."""
  rng = np.random.default_rng(0)
  images, labels = rng.integers(0, 256, (40, 32, 32, 3)).astype(np.uint8), np.arange(40) % 2
  halves = {"labels": labels}
  arrays = {
    "RGBA": {"images": rng.integers(0, 256, (40, 32, 32, 4)).astype(np.uint8)},
    "2 channels": {"images": images[..., :2]},
    "5 channels": {"images": np.concatenate([images, images[..., :2]], -1)},
    "channels open": {"images": images[:, :3]},
    "one class": {"images": images, "labels": labels * 0},
    "equal images": {"images": np.full_like(images, 7 * 16)},
    "classes of equal images": {"images": images[np.arange(40) // 2]},
    "uint16 in 0 to 255": {"images": images.astype(np.uint16)},
    "int64 of 0 and 1": {"images": (images > 127).astype(np.int64)},
    "floats to 255": {"images": images.astype(np.float32)},
    "nan": {"images": np.where(images == 7, np.nan, images / 255)},
    "labels to 2^40": {"images": images, "labels": labels * 2**40},
    "labels in an object array": {"images": images, "labels": labels.astype(object)},
    "one-hot, empty last class": {"images": images, "labels": np.eye(3)[labels]},
    "no one-hot": {"images": images, "labels": np.full((40, 2), 0.5)},
    "a class name twice": {"images": images, "class_names": np.array(["a", "a"])},
  }
  cases = []
  for number, (name, changed) in enumerate(arrays.items()):
    np.savez(path := folder / f"own{number}.npz", **(halves | changed))
    cases.append(Case(f"npz: {name}", "kip.py:npz,ipc=1", (*_SMALL, f"data.path={path}")))
  (folder / "damaged.npz").write_bytes((folder / "own0.npz").read_bytes()[:5000])
  photos = folder / "photos"
  for number, side in enumerate((32, 40)):
    (photos / "ab"[number]).mkdir(parents=True)
    Image.fromarray(images[0]).resize((side, 32)).save(photos / "ab"[number] / "0.png")
  return cases + [
    Case("npz: damaged", "kip.py:npz", (*_SMALL, f"data.path={folder / 'damaged.npz'}")),
    Case("npz: none", "kip.py:npz", (*_SMALL, f"data.path={folder / 'none.npz'}")),
    Case("folder: unequal sizes", "kip.py:folder,ipc=1", (*_SMALL, f"data.path={photos}")),
  ]


def foreign(folder: Path) -> list[Case]:
  """Other projects' sets, evaluated on CIFAR-10; its images need not have been decoded."""
  rng = np.random.default_rng(0)
  images = rng.normal(size=(10, 3, 32, 32)).astype(np.float32)
  labels, centred = np.arange(10), (np.eye(10) - 0.1).astype(np.float32)
  scalars = dict(k=np.array(4), jit=np.array(0.1), valid_loss=np.array(0.2))
  np.savez(folder / "rfad.npz", images=images, labels=centred, **scalars)
  np.savez(folder / "plain.npz", images=images, labels=centred * 3)
  np.savez(folder / "small.npz", images=images[:, :, :16], labels=centred)
  write_torch(folder / "pair.pt", [images, labels])
  teacher = np.full((5, 10, 10), 0.1, np.float32)
  write_torch(folder / "teacher.pt", {"images": images, "labels": teacher})
  write_torch(folder / "zca.pt", images * 0.3 + 0.35)
  write_torch(folder / "zca_labels.pt", labels)
  (folder / "cut.pt").write_bytes((folder / "pair.pt").read_bytes()[:3000])
  (folder / "a.txt").write_text("hello")
  names = {
    "no preprocessing": "rfad.npz",
    "labels of KIP or of others": "plain.npz",
    "images of another size": "small.npz",
    "grids or whole images": "pair.pt",
    "labels of a teacher": "teacher.pt",
    "network space or pixels": "zca.pt",
    "damaged": "cut.pt",
    "no layout": "a.txt",
    "absent": "none.pt",
  }
  return [
    Case(f"set: {name}", "evaluate.py:cifar10", (f"distilled={folder / file}",))
    for name, file in names.items()
  ]


def _processor_seconds() -> float:
  """Of all commands so far."""
  usage = resource.getrusage(resource.RUSAGE_CHILDREN)
  return usage.ru_utime + usage.ru_stime


def main(_) -> None:
  """Runs the commands and prints the table."""
  late = []
  with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    environment = {"JAX_PLATFORMS": "cpu", "DDJAX_CACHE_DIR": str(folder / "cache")} | os.environ
    print(f"{'seconds':>7}  {'CPU':>5}  status  refused")
    for case in (*settings(), *own_data(folder), *foreign(folder)):
      if ONLY.value not in case.name:
        continue
      arguments = [f"--config=configs/{case.config}", f"--workdir={folder / 'run'}"]
      arguments += [f"--config.{field}" for field in case.fields]
      started, used = time.monotonic(), _processor_seconds()
      done = subprocess.run(
        [sys.executable, "-m", "ddjax.main", *arguments],
        capture_output=True, text=True, env=environment, cwd=_ROOT,
      )  # fmt: skip
      seconds, used = time.monotonic() - started, _processor_seconds() - used
      said = [line for line in done.stderr.splitlines() if line.startswith(("Error", "FATAL"))]
      sentence = said[-1] if said else (done.stderr.strip().splitlines() or ["nothing"])[-1]
      print(
        f"{seconds:7.1f}  {used:5.1f}  {done.returncode:6}  {case.name}: {sentence[:150]}",
        flush=True,
      )
      if seconds > LIMIT.value or not done.returncode or "Traceback" in done.stderr:
        late.append(case.name)
  print(f"Above {LIMIT.value:g} s, or not refused: {', '.join(late) or 'none'}.")


if __name__ == "__main__":
  app.run(main)
