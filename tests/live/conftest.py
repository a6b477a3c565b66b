"""Sockets for tests of runs that outlive them."""

import functools
import secrets

import pytest


@pytest.fixture
def once():
    """A client's own random name for its request."""
    return secrets.token_hex(12)


@pytest.fixture
def replicas(replicas):
    """Servers with room for several runs at once; see `tests.conftest.replicas`."""
    return functools.partial(replicas, slots=4)
