"""Versions of servers (innoclone.wire.serverversion)."""

from __future__ import annotations

import pytest

from innoclone.errors import ProtocolError, VersionUnsupported
from innoclone.wire.serverversion import check_version, version_number


@pytest.mark.parametrize(
    ("text", "number"),
    [("9.7.4", 90704), ("9.7.4-debug", 90704), ("8.0.17", 80017), ("8.0.36-0ubuntu0.22.04.1", 80036)],
)
def test_a_version_is_a_number(text, number):
    assert version_number(text) == check_version(text) == number


@pytest.mark.parametrize(
    "text", ["", "9", "9.7", "a.b.c", "9.7.4 x", "9.7.4\n", "9.7.1234", "100.0.0", "9.7.4" + 81 * "-"]
)
def test_what_is_no_version(text):
    with pytest.raises(ProtocolError, match="is not a version"):
        version_number(text)


def test_versions_that_can_not_be_cloned():
    with pytest.raises(VersionUnsupported, match=r"since 8\.0\.17"):
        check_version("8.0.16")
    with pytest.raises(VersionUnsupported, match="MariaDB") as refused:
        check_version("5.5.5-10.11.6-MariaDB")
    assert "mariadb-backup" in refused.value.advice
