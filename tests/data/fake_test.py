import numpy as np
from sklearn.linear_model import LogisticRegression

from ddjax.data.fake import make_fake


def test_shapes_and_balance():
  fake = make_fake((6, 5, 3), num_classes=5, num_train=20, num_test=10)
  assert fake.train_images.shape == (20, 6, 5, 3) and fake.test_images.shape == (10, 6, 5, 3)
  assert fake.train_images.dtype == np.uint8 and fake.train_labels.dtype == np.int32
  np.testing.assert_array_equal(np.bincount(fake.train_labels), [4] * 5)
  assert len(fake.class_names) == 5


def test_same_bytes_every_time():
  first, second = make_fake(), make_fake()
  np.testing.assert_array_equal(first.train_images, second.train_images)


def test_learnable_but_only_with_the_right_labels():
  fake = make_fake(num_test=200)
  pixels = fake.train_images.reshape(64, -1) / 255
  held_out = fake.test_images.reshape(200, -1) / 255
  fit = LogisticRegression().fit(pixels, fake.train_labels)
  assert fit.score(held_out, fake.test_labels) > 0.95
  assert fit.score(held_out, (fake.test_labels + 1) % 4) < 0.05
