"""Names of tables and schemas as file names (innoclone.innodb.names)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innoclone.innodb.names import schema_folder, table_name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("shop/items.ibd", "shop.items"), ("./shop/items.ibd", "shop.items"), ("a@002db/t@0031.ibd", "a-b.t1"),
        ("shop/t#p#p0.ibd", "shop.t (partition p0)"), ("shop/t#P#p0#SP#p0sp1.ibd", "shop.t (partition p0, p0sp1)"),
        ("ibdata1", "ibdata1"), ("undo_001", "undo_001"), ("a/b/c.ibd", "a/b/c.ibd"), ("shop/t.sdi", "shop/t.sdi"),
    ],
)  # fmt: skip
def test_tables(path: str, name: str) -> None:
    assert table_name(path) == name


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="/"), min_size=1))
def test_a_schemas_folder_is_read_back(name: str) -> None:
    folder = schema_folder(name)
    assert folder.isascii()
    assert "/" not in folder
    assert table_name(f"{folder}/t.ibd") == f"{name}.t"
