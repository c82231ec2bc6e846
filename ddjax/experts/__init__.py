"""Networks trained on the real set whose every epoch is kept: the experts that MTT follows."""
