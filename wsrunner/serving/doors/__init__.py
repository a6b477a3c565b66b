"""HTTP: pages, lists, runs, and the ways of other people's clients."""
