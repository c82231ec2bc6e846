"""What makes the tables of the results and the pages of the reference."""
