# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the crash tests. See rig.py for the helpers and README.md for how to run."""

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]

import rig  # pylint: disable=wrong-import-position


def pytest_configure():
    for path in (rig.BINARY, rig.BINARY_WITHOUT_SYNC, rig.SHIM):
        if not os.access(path, os.X_OK):
            raise pytest.UsageError(f"there is no {path}: see tests/crash/README.md")


@pytest.fixture
def killed_at_the_end():
    """A list: the Looms in it are killed when the test is over."""
    looms = []
    yield looms
    for loom in looms:
        loom.kill()
