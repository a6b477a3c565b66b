"""Sockets for tests of runs that outlive them."""

import secrets

import pytest


@pytest.fixture
def once():
    """A client's own random name for its request."""
    return secrets.token_hex(12)
