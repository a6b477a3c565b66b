"""The Python client: many runs over one socket."""
