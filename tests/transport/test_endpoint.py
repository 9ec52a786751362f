"""What an endpoint is called in messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from innoclone.transport.endpoint import Endpoint


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        (Endpoint(), "localhost:3306"),
        (Endpoint("db.example", 3307), "db.example:3307"),
        (Endpoint("::1", 3307), "[::1]:3307"),
        (Endpoint("db.example", 3307, socket=Path("/run/mysqld.sock")), "/run/mysqld.sock"),
    ],
)
def test_address(endpoint, address):
    assert endpoint.address == address
    assert str(endpoint) == f"root@{address}"


def test_the_password_is_in_no_text():
    endpoint = Endpoint(user="clone", password="very-secret-indeed")
    assert "very-secret" not in f"{endpoint} {endpoint!r}"


def test_what_is_private():
    class Way:
        def connect(self):
            raise NotImplementedError

        def __str__(self):
            return "ssh://h/backups"

    for endpoint, private in ((Endpoint(), False), (Endpoint(socket=Path("/x")), True), (Endpoint(via=Way()), True)):
        assert endpoint.is_private is private
    assert str(Endpoint(via=Way())) == Endpoint(via=Way()).address == "ssh://h/backups"
