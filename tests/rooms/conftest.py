"""What tests of rooms over several servers share."""

import pytest

from tests.serving import SHORT_LEASE_S


@pytest.fixture
def servers(replicas):
    """A function that starts servers with a short lease and two slots."""
    return lambda count, **options: replicas(
        count, **({"lease_s": SHORT_LEASE_S, "slots": 2} | options)
    )
