"""A leak is charged to the test that made it, not to the one in which it was noticed."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _no_litter() -> Iterator[None]:
    """
    Collect what the test left, once its event loop is gone.

    A socket or a transport that nobody closed then warns, and a warning is an error.
    """
    yield
    gc.collect()
