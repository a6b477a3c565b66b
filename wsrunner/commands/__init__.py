"""The command ``wsrunner``: arguments, terminal, exit codes."""
