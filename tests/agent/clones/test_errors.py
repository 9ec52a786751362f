"""Errors of clones as clients of the agent get them."""

from __future__ import annotations

import pytest

from innoclone.agent.clones.errors import in_statements


@pytest.mark.parametrize(
    ("hint", "seen"),
    [
        ("say --discard-changes if it may go", "say SET GLOBAL clone_discard_changes = ON if it may go"),
        ("raise --ddl-timeout", "raise clone_ddl_timeout"),
        ("check --ssl-mode and --ssl-ca", "check REQUIRE [NO] SSL and clone_ssl_ca"),
        ("use --ssl-mode=REQUIRED, not --ssl-mode=DISABLED", "use REQUIRE SSL, not REQUIRE NO SSL"),
        ("use --map-path OLD=NEW", "use --map-path OLD=NEW"),
        ("no option", "no option"),
    ],
)
def test_hints_name_what_a_client_can_say(hint: str, seen: str) -> None:
    assert in_statements(hint) == seen
