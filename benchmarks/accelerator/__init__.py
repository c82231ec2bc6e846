"""What to run on a borrowed accelerator: does everything work, how fast, and published rows."""
