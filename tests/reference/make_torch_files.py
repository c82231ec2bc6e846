"""Makes torch_file.pt, torch_file_legacy.pt and torch_file.npz, which PyTorch itself wrote.

pip install torch==2.13.0   # the CPU build, see requirements-bench.txt
python tests/reference/make_torch_files.py
"""

from pathlib import Path

import numpy as np
import torch

if __name__ == "__main__":
  here = Path(__file__).parent
  images = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
  labels = torch.arange(4) % 2
  value = {
    "data": [[images[:, :, ::2].half(), labels], [images.transpose(2, 3), labels]],
    "accs_all_exps": {"ConvNet": [np.float64(0.25), 0.5]},
    "bfloat16": images[0, 0].bfloat16(),
    "parameter": torch.nn.Parameter(images[0]),
    "rate": torch.tensor(0.01),
    "mask": labels == 1,
  }
  torch.save(value, here / "torch_file.pt")
  torch.save(value, here / "torch_file_legacy.pt", _use_new_zipfile_serialization=False)
  np.savez(
    here / "torch_file.npz",
    half=value["data"][0][0].numpy(),
    images=value["data"][1][0].numpy(),
    labels=labels.numpy(),
    bfloat16=value["bfloat16"].float().numpy(),
    parameter=images[0].numpy(),
    mask=value["mask"].numpy(),
  )
