"""MTT: matching training trajectories (Cazenavette et al. 2022).

  python -m ddjax.main --config=configs/mtt.py                       digits, ipc 1
  python -m ddjax.main --config=configs/mtt.py:cifar10,ipc=10        the published settings
  python -m ddjax.main --config=configs/mtt.py:cifar10,ipc=1,width=32,steps=200,experts=2

Words behind the colon: data set, `ipc=N`, `seed=N`, `steps=N` (updates of the images), `width=N`
(of experts, students and the evaluation), `experts=N`, `smoke` (a few steps, short evaluation).
Experts that are missing are trained first, for as many epochs as the row needs; they lie in the
cache folder, or in `--config.experts.path=DIR`, and serve every run of the same network and data
(`configs/experts.py` trains them alone).
Published: CIFAR-10 .463 / .653 / .716 at ipc 1 / 10 / 50, by the protocol `mtt`.
Measured figures and times: docs/reproduction.md.
"""

from ml_collections import ConfigDict

from ddjax.config import arguments, matching, tables

# Rows of CIFAR-10 and CIFAR-100 are those of the released code, as are 100 experts and 5000 steps.
# "zca" is the kornia kind, with .1 added to the spectrum. The rows of digits and MNIST are ours, as
# is how often the loop looks up. Other data sets take the first row, which nobody has tuned for
# them. The paper's rows of Tiny ImageNet are not here, since nothing here loads it; by hand:
# ConvNet-4, T+ 10 / 40 / 40, N 10 / 20 / 20, image rate 1e4, batches of 200 / 300 at ipc 10 / 50.
_SHORT_STEPS = dict(steps_per_call=10, checkpoint_every_steps=100)
RECIPES = {
  (None, None): dict(
    num_steps=5000,
    num_experts=100,
    width=128,
    expert_epochs=2,
    student_steps=30,
    max_start_epoch=20,
    learning_rate=1000.0,
    rate_learning_rate=1e-5,
    student_learning_rate=0.01,
    zca=False,
    loop=dict(steps_per_call=1, checkpoint_every_steps=20),  # a step takes seconds
  ),
  ("cifar10", 1): dict(
    student_steps=50,
    max_start_epoch=2,
    learning_rate=100.0,
    rate_learning_rate=1e-7,
    zca=True,
  ),
  ("cifar10", 10): dict(learning_rate=100.0, student_learning_rate=0.001, zca=True),
  ("cifar10", 50): dict(max_start_epoch=40, student_learning_rate=0.001),
  ("cifar100", None): dict(student_steps=20),
  ("cifar100", 1): dict(expert_epochs=3, zca=True),
  ("cifar100", 10): dict(),
  ("cifar100", 50): dict(student_steps=80, max_start_epoch=40, student_batch_size=125, zca=True),
  ("digits", None): dict(
    num_steps=300,
    num_experts=8,
    width=32,
    network="convnet(depth=2)",
    expert_epochs=5,
    student_steps=15,
    max_start_epoch=20,
    learning_rate=10.0,
    rate_learning_rate=1e-5,
    loop=_SHORT_STEPS,
  ),
  ("mnist", None): dict(
    num_steps=300, num_experts=4, width=32, student_steps=20, max_start_epoch=4
  ),
  ("fake", None): dict(
    num_steps=5,
    num_experts=2,
    width=4,
    student_steps=3,
    expert_epochs=1,
    max_start_epoch=2,
    learning_rate=0.1,
    loop=_SHORT_STEPS,
  ),
}


def get_config(arg: str | None = None) -> ConfigDict:
  """Builds the config for `arg`, such as `cifar10,ipc=10`."""
  args = arguments.parse_argument(arg, matching.ARGUMENTS | dict(experts=0), flags=("smoke",))
  recipe = tables.settings_for(RECIPES, args["dataset"], args["ipc"])
  return matching.make_trajectory_config(args, recipe)
