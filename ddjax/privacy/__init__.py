"""Differential privacy of a distillation: its noisy sums, its budget, and what it promises."""
