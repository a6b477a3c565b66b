"""Docker, or what speaks its API: the only package that imports aiodocker."""
