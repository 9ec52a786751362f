"""What a donor reports, as errors of ours."""

from __future__ import annotations

import pytest

from innoclone.errors import (
    AccessDenied,
    CloneRunning,
    ConfigurationMismatch,
    DdlAborted,
    DonorError,
    EncryptionNeedsTls,
    LockTimeout,
    PacketTooSmall,
    PageUnfit,
    PluginMissing,
    PrivilegeMissing,
    RedoDisabled,
    VersionUnsupported,
)
from innoclone.transport.donorerrors import RESTORES, from_donor, passed_on

KNOWN = {
    1045: AccessDenied, 1205: LockTimeout, 1227: PrivilegeMissing, 1524: PluginMissing, 3633: DdlAborted,
    3634: CloneRunning, 3864: VersionUnsupported, 3868: ConfigurationMismatch, 3872: EncryptionNeedsTls,
    3957: PacketTooSmall, 3983: RedoDisabled,
}  # fmt: skip


@pytest.mark.parametrize("number", KNOWN)
def test_numbers_that_have_a_class(number):
    error = from_donor(number, "what it says")
    assert type(error) is KNOWN[number]
    assert error.message == f"donor error {number}: what it says"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Internal error: the idle clone is not ended", CloneRunning),
        ("Internal error: Corrupt Page found", PageUnfit),
        ("Internal error: something else", DonorError),
    ],
)
def test_an_internal_error_is_known_by_its_words(text, kind):
    assert type(from_donor(1815, text)) is kind
    assert type(from_donor(1816, text)) is DonorError, "only with that number"


def test_a_donor_that_still_restores_what_it_serves():
    assert "other clone" in from_donor(3634, "Too many concurrent clone operations").advice
    assert "when that is done" in from_donor(3634, f"s3://x@latest{RESTORES}12 bytes are there").advice


def test_any_other_keeps_its_number():
    error = from_donor(65535, "first line\nsecond \x1b[2J")
    assert isinstance(error, DonorError)
    assert error.donor_number == 65535
    assert error.message.isprintable()


def test_what_is_passed_on_has_the_donors_words() -> None:
    error = from_donor(1524, "Plugin 'clone' is not loaded")
    assert passed_on(error.code, error.message) == (1524, "Plugin 'clone' is not loaded")
    assert passed_on(1021, "donor error: disk full") == (1021, "donor error: disk full")
    assert passed_on(1021, "the disk is full") == (1021, "the disk is full")
