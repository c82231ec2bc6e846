"""The ablation figure: own kernels framed, cells that were not run hatched."""

import numpy as np

from ddjax.plots import ablation, figures


def test_frames_hatches_and_numbers(tmp_path):
  accuracy = np.array([[0.9, 0.8, np.nan], [0.7, 0.95, 0.6]])
  figure = ablation.kernel_ablation(accuracy, ["fc-1", "conv-1"], ["fc-1", "conv-1", "myrtle-5"])
  axes = figure.axes[0]
  hatched = [patch.get_xy() for patch in axes.patches if patch.get_hatch()]
  framed = [patch.get_xy() for patch in axes.patches if not patch.get_fill()]
  assert hatched == [(1.5, -0.5)]
  assert framed == [(-0.5, -0.5), (0.5, 0.5)]
  assert [text.get_text() for text in axes.texts] == [".90", ".80", ".70", ".95", ".60"]
  assert axes.images[0].get_clim() == (0.6, 1.0)
  legend = [text.get_text() for text in axes.get_legend().get_texts()]
  assert legend == ["own kernel", "not run"]
  figures.save_figure(figure, tmp_path / "ablation.png")
