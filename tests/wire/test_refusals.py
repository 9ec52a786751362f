"""What a server says that lets nobody in (innoclone.wire.refusals)."""

from __future__ import annotations

import pytest

from innoclone.errors import (
    AccessDenied,
    AuthPluginUnsupported,
    ConnectFailed,
    ConnectionLimit,
    NotMySQL,
    TlsFailed,
)
from innoclone.wire.refusals import AFTER_LOGIN, refusal

KINDS = [  # numbers, and what they are to us
    (AccessDenied, (1044, 1045, 1698, 1820, 1862, 3118, 3955)),
    (AuthPluginUnsupported, (1251, 1524, 2059)),
    (ConnectFailed, (1053, 1129, 1130, 1152, 1184, 3032, 3168)),
    (ConnectionLimit, (1040, 1203, 1226)),
    (NotMySQL, (1043, 1156, 1158)),
    (TlsFailed, (3159,)),
]


@pytest.mark.parametrize(("kind", "number"), [(kind, number) for kind, numbers in KINDS for number in numbers])
def test_each_number_has_its_error_and_says_what_to_do(kind, number):
    error = refusal(number, "no\x1b[2Jentry")
    assert type(error) is kind
    assert "no" in error.message
    assert "\x1b" not in error.message
    assert error.advice or number == 1044


def test_other_numbers_are_no_refusal():
    assert refusal(1064, "syntax") is None
    assert refusal(0, "") is None
    assert all(refusal(number, "") is not None for number in AFTER_LOGIN)


def test_a_limit_keeps_the_servers_number():
    error = refusal(1203, "too many")
    assert isinstance(error, ConnectionLimit)
    assert error.server_number == 1203


def test_a_server_does_not_say_that_it_wanted_tls_or_a_certificate():
    plain, without, both = (
        refusal(1045, "denied", encrypted=encrypted, certificate=certificate)
        for encrypted, certificate in ((False, False), (True, False), (True, True))
    )
    assert plain is not None
    assert "--ssl-mode=REQUIRED" in plain.advice
    assert without is not None
    assert "--ssl-cert" in without.advice
    assert both is not None
    assert both.advice == AccessDenied.hint
