"""Speed, memory and reproduction runs; each module is `python -m benchmarks.NAME`."""
