"""What the tests of destinations share."""

import pytest

from tests.support.app_on_moto import Platform
from tests.support.destination_world import World


@pytest.fixture
def world(platform: Platform) -> World:
    """Somebody with destinations."""
    return World(platform)
