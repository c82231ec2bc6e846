"""What is known of each data set before it is read: a table, data not code.

To add another TFDS image classification set (images of one size, a train and a test split), add a
row. Normalisation constants are those of the distillation papers (DC, Zhao et al. 2021, and those
that followed it) and serve `preprocessing="published"`.
"""

from types import MappingProxyType
from typing import Any, Mapping, NamedTuple

from ddjax.wording import nearest


class Facts(NamedTuple):
  """One data set.

  Attributes:
    image_shape: (h, w, c), or None where the user's own images decide.
    num_classes: or None likewise.
    max_value: the stored value of a white pixel; pixel = stored value / max_value.
    mean: published mean of each channel, pixels in [0, 1], or None.
    std: published standard deviation likewise.
    use_flip: whether a mirrored image is still an image of its class.
    tfds_name: the set's name in TensorFlow Datasets ("name" or "name/config"), or None.
    probe_url: an address that answers where TFDS could download the set.
    download_mb: size of TFDS's download, megabytes.
    folder: of the set's unpacked archive, where it is published as one; see `ddjax.data.released`.
    class_names: {name of a class's folder: name of the class} of such a set, or {}.
  """

  image_shape: tuple[int, int, int] | None
  num_classes: int | None
  max_value: int = 255
  mean: tuple[float, ...] | None = None
  std: tuple[float, ...] | None = None
  use_flip: bool = True
  tfds_name: str | None = None
  probe_url: str | None = None
  download_mb: int = 0
  folder: str | None = None
  class_names: Mapping[str, str] = MappingProxyType({})

  @property
  def published(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """The published (mean, std) of each channel, or None."""
    return None if self.mean is None or self.std is None else (self.mean, self.std)


_IMAGENET: dict[str, Any] = dict(  # as MTT's code has them
  mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)

FACTS = {
  "digits": Facts(
    image_shape=(8, 8, 1),
    num_classes=10,
    max_value=16,
    use_flip=False,
  ),
  "mnist": Facts(
    image_shape=(28, 28, 1),
    num_classes=10,
    mean=(0.1307,),
    std=(0.3081,),
    use_flip=False,
    tfds_name="mnist",
    probe_url="https://storage.googleapis.com/cvdf-datasets/mnist/train-labels-idx1-ubyte.gz",
    download_mb=11,
  ),
  "fashion_mnist": Facts(
    image_shape=(28, 28, 1),
    num_classes=10,
    mean=(0.2861,),
    std=(0.3530,),
    tfds_name="fashion_mnist",
    probe_url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-labels-idx1-ubyte.gz",
    download_mb=30,
  ),
  "cifar10": Facts(
    image_shape=(32, 32, 3),
    num_classes=10,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2023, 0.1994, 0.2010),
    tfds_name="cifar10",
    probe_url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    download_mb=170,
  ),
  "cifar100": Facts(
    image_shape=(32, 32, 3),
    num_classes=100,
    mean=(0.5071, 0.4866, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
    tfds_name="cifar100",
    probe_url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    download_mb=169,
  ),
  "svhn_cropped": Facts(
    image_shape=(32, 32, 3),
    num_classes=10,
    mean=(0.4377, 0.4438, 0.4728),
    std=(0.1980, 0.2010, 0.1970),
    use_flip=False,
    tfds_name="svhn_cropped",
    probe_url="http://ufldl.stanford.edu/housenumbers/test_32x32.mat",
    download_mb=1500,
  ),
  "tiny_imagenet": Facts(
    image_shape=(64, 64, 3), num_classes=200, folder="tiny-imagenet-200", **_IMAGENET
  ),
  "imagenette": Facts(
    image_shape=(128, 128, 3),
    num_classes=10,
    folder="imagenette2",
    class_names={
      "n01440764": "tench",
      "n02102040": "English springer",
      "n02979186": "cassette player",
      "n03000684": "chain saw",
      "n03028079": "church",
      "n03394916": "French horn",
      "n03417042": "garbage truck",
      "n03425413": "gas pump",
      "n03445777": "golf ball",
      "n03888257": "parachute",
    },
    **_IMAGENET,
  ),
  "imagewoof": Facts(
    image_shape=(128, 128, 3),
    num_classes=10,
    folder="imagewoof2",
    class_names={
      "n02086240": "Shih-Tzu",
      "n02087394": "Rhodesian ridgeback",
      "n02088364": "beagle",
      "n02089973": "English foxhound",
      "n02093754": "Border terrier",
      "n02096294": "Australian terrier",
      "n02099601": "golden retriever",
      "n02105641": "Old English sheepdog",
      "n02111889": "Samoyed",
      "n02115641": "dingo",
    },
    **_IMAGENET,
  ),
  "npz": Facts(image_shape=None, num_classes=None),
  "folder": Facts(image_shape=None, num_classes=None),
  "fake": Facts(image_shape=(8, 8, 1), num_classes=4, use_flip=False),
}


def get_facts(name: str) -> Facts:
  """The row of `name`.

  Raises:
    ValueError: for an unknown name, with the nearest known one.
  """
  if name not in FACTS:
    raise ValueError(f"Unknown data set {name!r}. {nearest(name, FACTS)}")
  return FACTS[name]
