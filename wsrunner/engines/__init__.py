"""Where code runs: the container engines."""
