"""Commands of the classic protocol (innoclone.wire.commands)."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innoclone.errors import ProtocolError
from innoclone.wire import commands as com

u8, u16, u32, u64 = (st.integers(0, (1 << bits) - 1) for bits in (8, 16, 32, 64))

words = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=40)

texts = st.text(st.characters(blacklist_categories=["Cs"]), max_size=200)

data = st.binary(max_size=300)

ascii_words = st.from_regex(r"[a-z0-9_]{0,20}", fullmatch=True)

COMMANDS = st.one_of(
    *(st.builds(kind) for kind in (com.Quit, com.Statistics, com.Debug, com.Ping, com.ResetConnection)),
    *(st.builds(kind, texts) for kind in (com.InitDb, com.Query, com.StmtPrepare)),
    *(st.builds(kind, u32) for kind in (com.ProcessKill, com.StmtClose, com.StmtReset)),
    st.builds(com.FieldList, words, texts), st.builds(com.SetOption, u16), st.builds(com.StmtFetch, u32, u32),
    st.builds(com.StmtSendLongData, u32, u16, data), st.builds(com.StmtExecute, u32, u8, data),
    st.builds(com.ChangeUser, words, st.binary(max_size=255), words, ascii_words),
)  # fmt: skip


@given(COMMANDS)
def test_commands_come_back(command):
    assert com.parse(command.serialize()) == command


@given(data)
def test_any_bytes_are_a_command_or_refused(raw):
    with contextlib.suppress(ProtocolError):
        com.parse(raw)


def test_what_ends_a_change_of_user_early():
    """Clients leave out what is at the end: plugin, collation, schema."""
    whole = com.ChangeUser("eve", b"x" * 20, "shop", "caching_sha2_password").serialize()
    head = b"\x11eve\0\x14" + b"x" * 20
    assert whole.startswith(head)
    assert com.parse(head) == com.ChangeUser("eve", b"x" * 20)
    assert com.parse(head + b"shop\0") == com.ChangeUser("eve", b"x" * 20, "shop")
    assert com.parse(head + b"shop\0\xff\0") == com.ChangeUser("eve", b"x" * 20, "shop")


@pytest.mark.parametrize("payload", [b"", b"\0", b"\x0a", b"\x20", b"\xff"])
def test_what_is_no_command_says_so(payload):
    with pytest.raises(com.UnknownCommand):
        com.parse(payload)


def test_text_that_is_no_utf8_comes_back_as_it_was():
    assert com.parse(b"\x03SELECT '\xff'").serialize() == b"\x03SELECT '\xff'"
