"""Attacks: adversarial examples and corruptions of images, and scores of membership."""
