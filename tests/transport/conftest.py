"""Certificates that the tests of connections share."""

from __future__ import annotations

from pathlib import Path

import pytest

from certificates import make_certificates


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See `make_certificates`."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))
