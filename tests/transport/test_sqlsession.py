"""The statement that makes a session ours, as a server of any version reads it."""

from __future__ import annotations

import re

import pytest

from innoclone.transport.sqlsession import OWN_SERVER, READING, statement


def read_by(version: int, text: str) -> str:
    """What a server sees behind its version comments."""
    return re.sub(r"/\*!(\d{5})(.*?)\*/", lambda found: found[2] if int(found[1]) <= version else "", text)


@pytest.mark.parametrize("settings", [READING, OWN_SERVER])
@pytest.mark.parametrize("version", [80011, 80018, 80026, 80030, 90704])
def test_every_version_reads_a_list_of_settings(settings, version):
    """Neither a comma too many nor too few, and each that it may know is in it, once and in order."""
    text = read_by(version, statement(settings))
    assert text.startswith("SET ")
    read = [part.strip() for part in re.split(r",(?=(?:[^']*'[^']*')*[^']*$)", text.removeprefix("SET "))]
    assert read == [found for setting in settings if (found := read_by(version, setting).strip())]
    assert all(part.count("=") >= 1 or part.startswith("NAMES ") for part in read)


def test_one_setting_is_a_statement_too():
    for setting in READING:
        assert statement((setting,)) == f"SET {setting}"


def test_a_later_value_counts():
    """What a server of our own is to have comes after what all have."""
    assert [setting for setting in OWN_SERVER if setting.startswith("sql_mode=")][-1].endswith("SUBSTITUTION'")
