"""The stages of a run, in the order of `ddjax.pipeline`: what touches files, clocks and logs."""
