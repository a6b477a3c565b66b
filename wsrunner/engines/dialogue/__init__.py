"""What is said between this process and the first process of a container."""
