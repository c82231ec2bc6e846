"""The stages that tasks share, from data to report: what touches files, clocks and logs."""
