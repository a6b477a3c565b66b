"""The course of runs: what is ordered, the warm pool, input, output and outcome."""
