import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.models.build import build, parse_name

CIFAR, MNIST, DIGITS = (32, 32, 3), (28, 28, 1), (8, 8, 1)


def _shapes(name, image_shape, **options):
  """Shapes of the variables, and of (logits, features)."""
  network = build(name, num_classes=10, **options)
  images = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
  variables = jax.eval_shape(network.init, jax.random.key(0), images)
  apply = lambda variables, x: network.apply(variables, x, return_features=True)  # noqa: E731
  return variables, jax.eval_shape(apply, variables, images)


def _conv(size, inputs, outputs):
  return size**2 * inputs * outputs + outputs


def _convs(size, *channels):
  return sum(_conv(size, i, o) for i, o in zip(channels[:-1], channels[1:]))


def _linears(*units):
  return sum((i + 1) * o for i, o in zip(units[:-1], units[1:]))


def _alexnet(inputs):
  return _convs(5, inputs, 128, 192) + _convs(3, 192, 256, 192, 192) + _linears(192 * 4 * 4, 10)


def _resnet(inputs, features):
  """Without biases, every convolution with a norm's scale and shift."""
  stem = 9 * inputs * 64 + 2 * 64
  stages = [9 * 64 * 64 * 4 + 4 * 2 * 64]
  for i, o in ((64, 128), (128, 256), (256, 512)):
    stages.append(9 * (i * o + 3 * o * o) + i * o + 5 * 2 * o)
  return stem + sum(stages) + _linears(features, 10)


VIT_BLOCK = _linears(192, 3 * 192) + _linears(192, 192) + _linears(192, 768, 192) + 2 * 2 * 192
_FREPO = _convs(3, 3, 128, 256, 512) + _linears(512 * 16, 10)
CONVNET = _convs(3, 3, 128, 128, 128) + _linears(2048, 10)


@pytest.mark.parametrize(
  "name,image_shape,count,num_features",
  [
    ("convnet", CIFAR, 320_010, 2048),  # as published
    ("convnet", MNIST, 317_706, 2048),  # padded to 32: 3 * 3 * 2 * 128 fewer
    ("convnet(width=32)", DIGITS, _convs(3, 1, 32, 32, 32) + 3 * 64 + _linears(32, 10), 32),
    ("convnet(norm=none)", CIFAR, CONVNET, 2048),
    ("convnet(norm=batch)", CIFAR, CONVNET + 3 * 256, 2048),
    ("convnet(norm=group)", CIFAR, CONVNET + 3 * 256, 2048),
    ("convnet(norm=layer)", CIFAR, CONVNET + 2 * 128 * (32**2 + 16**2 + 8**2), 2048),
    ("convnet(pooling=max,activation=gelu)", CIFAR, 320_010, 2048),
    (
      "convnet(depth=1,pooling=none)",
      CIFAR,
      _conv(3, 3, 128) + 256 + _linears(128 * 32**2, 10),
      128 * 32**2,
    ),
    ("frepo_convnet(norm=batch)", CIFAR, _FREPO + 2 * (128 + 256), 512 * 16),
    ("frepo_convnet(norm=none)", CIFAR, _FREPO, 512 * 16),
    ("mlp", CIFAR, _linears(3072, 128, 128, 10), 128),
    ("mlp", MNIST, _linears(784, 128, 128, 10), 128),
    ("mlp", DIGITS, _linears(64, 128, 128, 10), 128),
    ("lenet", CIFAR, 62_006, 84),  # known for LeNet-5 on CIFAR-10
    ("lenet", MNIST, 61_706, 84),  # and on MNIST
    ("alexnet", CIFAR, _alexnet(3), 3072),
    ("alexnet", MNIST, _alexnet(1), 3072),
    ("alexnet", DIGITS, _alexnet(1) - 15 * 192 * 10, 192),
    ("vgg11(norm=batch)", CIFAR, 9_231_114, 512),  # as published
    ("vgg11", MNIST, 9_231_114 - 9 * 2 * 64, 512),
    ("resnet18(norm=batch)", CIFAR, 11_173_962, 512),  # as published
    ("resnet18", MNIST, _resnet(1, 512), 512),
    ("resnet18(norm=batch)", DIGITS, _resnet(1, 512), 512),
    ("resnet18_ap", CIFAR, _resnet(3, 512 * 16), 512 * 16),
    ("resnet18_ap", MNIST, _resnet(1, 512 * 9), 512 * 9),
    ("resnet18_ap(norm=batch)", DIGITS, _resnet(1, 512), 512),
    ("vit", CIFAR, _linears(48, 192, 10) + 64 * 192 + 6 * VIT_BLOCK + 384, 192),
    ("vit", MNIST, _linears(16, 192, 10) + 49 * 192 + 6 * VIT_BLOCK + 384, 192),
    ("vit(depth=1)", DIGITS, _linears(16, 192, 10) + 4 * 192 + VIT_BLOCK + 384, 192),
  ],
)
def test_parameter_counts_and_features(name, image_shape, count, num_features):
  variables, (logits, features) = _shapes(name, image_shape)
  assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == count
  assert logits.shape == (2, 10) and features.shape == (2, num_features)
  assert set(variables) == ({"params", "batch_stats"} if "batch" in name else {"params"})


@pytest.mark.parametrize("side,blocks", [(8, 3), (32, 3), (64, 4), (128, 5)])
def test_depth_follows_the_image(side, blocks):
  variables, _ = _shapes("convnet", (side, side, 3), width=2)
  assert sum(name.startswith("conv_") for name in variables["params"]) == blocks


@pytest.mark.parametrize("name", ["convnet", "mlp", "vit(depth=1)"])
def test_weights_and_biases_are_uniform_in_one_over_root_fan_in(name):
  network = build(name, num_classes=50, width=32)
  rng = jax.random.key(0, impl="unsafe_rbg")  # compiles in half the time
  params = jax.jit(network.init)(rng, np.zeros((1, 16, 16, 3), np.float32))["params"]
  kernels = [path for path, _ in jax.tree.leaves_with_path(params) if path[-1].key == "kernel"]
  assert len(kernels) >= 3
  for *path, _ in kernels:
    values = params
    for part in path:
      values = values[part.key]
    bound = np.prod(values["kernel"].shape[:-1]) ** -0.5
    kernel, bias = np.asarray(values["kernel"]), np.asarray(values["bias"])
    assert 0.95 * bound < np.abs(kernel).max() <= bound
    assert 0.7 * bound < np.abs(bias).max() <= bound
    np.testing.assert_allclose(kernel.std(), bound / 3**0.5, rtol=0.1)


@pytest.mark.parametrize(
  "text,expected",
  [
    ("convnet", ("convnet", {})),
    ("convnet()", ("convnet", {})),
    ("convnet(depth=4,norm=none)", ("convnet", {"depth": 4, "norm": "none"})),
    (" vit ( depth = 2 , patch=-1 ) ", ("vit", {"depth": 2, "patch": -1})),
    ("unknown(a=1.5)", ("unknown", {"a": "1.5"})),
  ],
)
def test_names_carry_options(text, expected):
  assert parse_name(text) == expected


def test_a_width_in_the_name_goes_first():
  assert build("convnet(width=7)", num_classes=10, width=32).width == 7
  assert build("convnet(depth=2)", num_classes=10, width=32).width == 32
  assert build("resnet18_ap", num_classes=10).width == 64


@pytest.mark.parametrize(
  "name,options,message",
  [
    ("convent", {}, "'convent'.*Did you mean 'convnet'"),
    ("mlp", {"width": 0}, "width=0 "),
    ("mlp", {"num_classes": 0}, "num_classes=0 "),
    ("convnet(dept=4)", {}, "'dept' of network 'convnet'.*Did you mean 'depth'"),
    ("convnet", {"dept": 4}, "'dept' of network 'convnet'.*Did you mean 'depth'"),
    ("lenet(norm=batch)", {}, "'norm' of network 'lenet'. Known: dtype, width"),
    ("resnet18(name=x)", {}, "Unknown option 'name'"),
    ("convnet(norm=instancenorm)", {}, "norm='instancenorm'.*Did you mean 'instance'"),
    ("convnet(pooling=avg)", {}, "pooling='avg'.*Known: average, max, none"),
    ("convnet(activation=3)", {}, "activation=3"),
    ("convnet(depth=four)", {}, "depth='four' must be a whole number"),
    ("convnet(depth=0)", {}, "depth=0 "),
    ("convnet(depth=4)", {"depth": 4}, "'depth'.*given again as 4"),
    ("convnet(depth=4,depth=4)", {}, "'depth' stands twice"),
    ("convnet(depth)", {}, "'depth' in network.*option=value"),
    ("convnet(depth=4", {}, "not of the form NAME"),
  ],
)
def test_what_cannot_be_built_says_why(name, options, message):
  with pytest.raises(ValueError, match=message):
    build(name, **{"num_classes": 10} | options)


@pytest.mark.parametrize(
  "name,side,message",
  [
    ("convnet", 4, "3 blocks needs 8 px a side, not 4"),
    ("lenet", 8, "LeNet needs 16 px a side, not 8"),
    ("alexnet", 7, "AlexNet needs 8 px a side, not 7"),
    ("vgg11", 8, "VGG-11 needs 32 px a side, not 8"),
    ("resnet18", 8, "norm=instance needs 9 px a side, not 8"),
    ("resnet18_ap", 8, "norm=instance needs 16 px a side, not 8"),
    ("vit", 30, "4 px do not tile an image of 30x30 px"),
    ("vit(heads=3,width=32)", 8, "width=32 .* not a multiple of heads=3"),
    ("convnet(norm=group,width=6)", 8, r"groups \(4\) does not divide .* \(6\)"),
  ],
)
def test_what_an_image_is_too_small_for_says_why(name, side, message):
  with pytest.raises(ValueError, match=message):
    _shapes(name, (side, side, 1))
