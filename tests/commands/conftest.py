"""What tests of commands on stores share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from innoclone.commands.storecare import make_store
from innoclone.commands.storeoptions import StoreAccess


@pytest.fixture
def access(tmp_path: Path) -> StoreAccess:
    """A new store in a folder."""
    key = tmp_path / "key"
    key.write_bytes(os.urandom(32))
    found = StoreAccess(f"file://{tmp_path}/store", key_file=key)
    make_store(found, encrypted=True, single_writer=False)
    return found
