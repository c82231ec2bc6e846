"""ddjax: dataset distillation in JAX, and the audit of what distillation costs."""

__version__ = "0.1.0"
