"""The documentation says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from innoclone import errors
from innoclone.front.cli.reference import PAGES, commands, refresh

DOCS = Path(__file__).parent.parent / "docs"
AGAIN = "run: python -m innoclone.front.cli.reference docs"


@pytest.mark.parametrize("name", PAGES)
def test_generated_parts_are_up_to_date(name):
    page = (DOCS / name).read_text()
    assert refresh(page) == page, AGAIN


def test_every_command_and_option_is_documented():
    page = (DOCS / "cli.md").read_text()
    assert len(commands()) > 5
    for name, command in commands().items():
        assert f"<!-- generated: command {name} -->" in page
        for parameter in command.params:
            if parameter.param_type_name == "option" and not parameter.hidden:
                assert parameter.opts[0] in page


def test_every_error_is_documented():
    page = (DOCS / "errors.md").read_text()
    for kind in errors.registry():
        if not kind.__subclasses__():
            assert f"| {kind.__name__} | {kind.number} | {kind.symbol} | {kind.sqlstate} | {kind.exit_status} |" in page


def test_every_option_has_help_that_is_short_and_ends_with_a_period():
    for command in commands().values():
        for parameter in command.params:
            if not getattr(parameter, "hidden", False):
                assert re.fullmatch(r"[A-Zm].{5,90}\.", parameter.help or ""), parameter.name


def test_a_stale_page_would_be_noticed():
    stale = "<!-- generated: errors -->\nold\n<!-- end -->\nby hand"
    assert "UsageError" in refresh(stale)
    assert refresh(stale).endswith("by hand")
    with pytest.raises(KeyError):
        refresh("<!-- generated: nothing -->\n<!-- end -->")
