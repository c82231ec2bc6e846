"""Config fields that say of another project's distilled set what its file does not."""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def foreign() -> ConfigDict:
  """Fields of `ddjax.io.foreign.foreign_set.ForeignOptions`; sets of our own need none of them."""
  return ConfigDict(
    dict(
      layout=placeholder(str),  # a name in ddjax.io.foreign.read.LAYOUTS; None: by content
      preprocessing=placeholder(str),  # none, standardise, published, zca_kip, zca_kornia, ...
      space=placeholder(str),  # pixels or network, where the images lie; None: the layout's
      decode_factor=placeholder(int),  # cells a side of the grid that an image is; IDC needs it
      experiment=0,  # which of the sets in one file of DC, DSA or DM
      label_kind=placeholder(str),  # one_hot, centred, probabilities, logits
      ipc=placeholder(int),  # the first so many images of each class; None: all
      max_value=placeholder(float),  # white in whole numbers; None: 255, of 16 bits 65535
      use_average=False,  # the averaged copy in a checkpoint of FRePo or RCIG
    )
  )
