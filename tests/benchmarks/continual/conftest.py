"""The parts of the benchmark, imported when its folder is on the path."""

import pytest


@pytest.fixture
def plan():
    from continual_parts import plan

    return plan


@pytest.fixture
def runs():
    from continual_parts import runs

    return runs


@pytest.fixture
def compare():
    from continual_parts import compare

    return compare
