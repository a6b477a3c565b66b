n: 2 * n
