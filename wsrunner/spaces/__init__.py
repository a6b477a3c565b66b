"""Workspaces that any replica may go on with, through Redis."""
