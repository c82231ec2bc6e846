"""Reading, building and checking configs: string arguments, shared groups, comparisons."""
