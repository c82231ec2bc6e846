"""Real sets that tests of files share, and a set of Hugging Face's `datasets`."""

import os

import pytest

from ddjax.config import groups
from ddjax.data.load import load_real_data
from tests.io import foreign_files as files


@pytest.fixture(scope="module")
def fake():
  return load_real_data(groups.data("fake"))


@pytest.fixture(scope="module")
def digits():
  return load_real_data(groups.data("digits"))


@pytest.fixture(scope="module")
def datasets():
  os.environ.setdefault("HF_HUB_OFFLINE", "1")
  import datasets

  datasets.disable_progress_bars()
  yield datasets
  datasets.enable_progress_bars()


@pytest.fixture(scope="module")
def rows(datasets):
  """Pictures with paths that are none, and labels of five classes."""
  images = [{"bytes": picture, "path": "/nowhere.png"} for picture in files.pictures()]
  features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(files.NAMES))}
  columns = {"image": images, "label": files.LABELS}
  return datasets.Dataset.from_dict(columns, features=datasets.Features(features))
