"""What lies in run folders, in short, and the page that lists them."""
