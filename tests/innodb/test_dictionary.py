"""The rows of mysql.tablespace_files out of made pages: leaves in a chain, levels above them, deleted rows, damage."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from innoclone.innodb.dictionary import DictionaryFile, space_ids, tablespace_files

SIZE = 16384
NONE = 0xFFFFFFFF
INDEX_ID = 77
FIRST = ("mysql.ibd", b"id=4294967294;flags=18432;")
KEY = struct.Struct(">Q I")


def record(content: bytearray, at: int, key: tuple[int, int], name: str, private: bytes | None, deleted: bool) -> int:
    """A row of the leaf level: its lengths lie before its header, backwards. Where it begins."""
    raw = name.encode()
    head = bytes([len(raw)]) if len(raw) < 128 else bytes([len(raw) & 0xFF, 0x80 | len(raw) >> 8])
    begin = at + len(head) + 8
    content[begin - 7 - len(head) : begin - 7] = b"\0" * len(head)
    content[begin - 7] = head[-1]
    if len(head) == 2:
        content[begin - 8] = head[0]
    content[begin - 6] = 1 if private is None else 0
    content[begin - 5] = 0x20 if deleted else 0
    body = KEY.pack(*key) + bytes(13) + raw + (private or b"")
    content[begin : begin + len(body)] = body
    return begin


def page(level: int, rows: list[tuple[object, ...]], before: int = NONE, after: int = NONE, root: bool = True) -> bytes:
    """A page of the index. Rows of leaves: key, name, private data, whether it is deleted; above them: key, page."""
    content = bytearray(SIZE)
    struct.pack_into(">II", content, 8, before, after)
    struct.pack_into(">H", content, 24, 17855)
    struct.pack_into(">H", content, 38 + 4, 0x8000 | (2 + len(rows)))
    struct.pack_into(">HQ", content, 38 + 26, level, INDEX_ID)
    if root:
        content[38 + 36 : 38 + 46] = b"\1" * 10
    last, at = 99, 130
    for row in rows:
        if level:
            begin = at + 8
            content[begin : begin + 16] = KEY.pack(*row[0]) + struct.pack(">I", row[1])  # type: ignore[misc]
            end = begin + 16
        else:
            key, name, private, deleted = row
            begin = record(content, at, key, name, private, deleted)  # type: ignore[arg-type]
            end = begin + 25 + len(str(name).encode()) + len(private or b"")  # type: ignore[arg-type]
        struct.pack_into(">H", content, last - 2, (begin - last) & 0xFFFF)
        last, at = begin, end
    struct.pack_into(">H", content, last - 2, (112 - last) & 0xFFFF)
    return bytes(content)


def row(number: int, name: str, private: bytes | None = b"", deleted: bool = False) -> tuple[object, ...]:
    return ((number, 1), name, f"id={number};".encode() if private == b"" else private, deleted)


OWN = ((1, 1), *FIRST, False)
LONG = "./" + "ü" * 120 + "/t.ibd"
OTHER = bytes(SIZE)


def read(pages: list[bytes]) -> list[DictionaryFile]:
    return tablespace_files(lambda number: pages[number], len(pages))


def test_one_leaf() -> None:
    leaf = page(0, [OWN, row(2, "./a/t.ibd"), row(3, "gone.ibd", deleted=True), row(4, LONG), row(5, "undo", None)])
    assert read([OTHER, leaf]) == [
        DictionaryFile("mysql.ibd", 4294967294),
        DictionaryFile("./a/t.ibd", 2),
        DictionaryFile(LONG, 4),
        DictionaryFile("undo", None),
    ]
    assert read([page(0, [OWN, row(2, "x", b"other=1;")])])[1].space_id is None


def test_leaves_below_a_root() -> None:
    pages = [
        page(0, [row(9, "not the first.ibd")]),  # another table's
        page(1, [((1, 1), 2), ((5, 1), 3)]),
        page(0, [OWN], after=3, root=False),
        page(0, [row(5, "b.ibd")], before=2, root=False),
    ]
    assert [one.name for one in read(pages)] == ["mysql.ibd", "b.ibd"]


@pytest.mark.parametrize(
    "root",
    [
        page(1, []),  # no child
        page(1, [((1, 1), 99)]),  # one beyond the end
        page(1, [((1, 1), 0)]),  # one of no index
        page(2, [((1, 1), 2)]),  # one of the wrong level
        page(0, []),
        page(0, [((1, 1), "other.ibd", None, False)]),
        page(0, [((1, 1), "", None, False)]),
    ],
)
def test_what_another_tables_root_may_be(root: bytes) -> None:
    leaf = page(0, [OWN])
    with pytest.raises(ValueError, match="is not found"):
        read([OTHER, root, page(0, [OWN], root=False)])
    assert len(read([OTHER, root, leaf])) == 1


def change(content: bytes, offset: int, new: bytes) -> bytes:
    return content[:offset] + new + content[offset + len(new) :]


def infimum(distance: int) -> Callable[[bytes], bytes]:
    return lambda content: change(content, 97, struct.pack(">H", distance))


@pytest.mark.parametrize(
    ("pages", "why"),
    [
        ([page(1, [((1, 1), 1)]), page(0, [OWN], after=9, root=False)], "is damaged"),  # beyond the end
        ([page(1, [((1, 1), 1)]), page(0, [OWN], after=2, root=False), OTHER], "is damaged"),  # no page of the index
        ([page(1, [((1, 1), 1)]), page(0, [OWN], after=1, root=False)], "is damaged"),  # itself
        ([page(0, [OWN, row(2, "a\0b")])], "row of mysql.tablespace_files is damaged"),
        ([infimum(0)(page(0, [OWN]))], "has no order"),
        ([infimum(20000)(page(0, [OWN]))], "has no order"),
        ([page(0, [OWN, row(2, "abc")]).replace(b"abc", b"\xff\xfe\xfd")], "dictionary is damaged"),
        ([page(0, [OWN])[:60]], "dictionary is damaged"),
    ],
)
def test_damage(pages: list[bytes], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read(pages)


def test_a_circle_of_records_ends() -> None:
    leaf = page(0, [OWN, row(2, "a.ibd"), row(3, "b.ibd")])
    at = leaf.index(b"b.ibd") - 25
    back = leaf.index(b"a.ibd") - 25
    with pytest.raises(ValueError, match="has no order"):
        read([change(leaf, at - 2, struct.pack(">H", (back - at) & 0xFFFF))])


def test_a_child_that_does_not_fit_is_another_tables() -> None:
    content = bytearray(page(1, [((1, 1), 1)]))
    struct.pack_into(">H", content, 97, SIZE - 8 - 99)
    struct.pack_into(">H", content, SIZE - 10, (112 - (SIZE - 8)) & 0xFFFF)
    with pytest.raises(ValueError, match="is not found"):
        read([bytes(content)])


def tablespace(number: int, name: str, options: bytes | None, private: bytes | None) -> tuple[bytes, int]:
    """A row of mysql.tablespaces with its lengths and its header before it, and where it begins in that."""
    columns = [name.encode(), *(one for one in (options, private) if one is not None)]
    head = b"".join(bytes([len(one) & 0xFF, 0x80 | len(one) >> 8]) if len(one) > 127 else bytes([len(one)])
                    for one in reversed(columns))  # fmt: skip
    nulls = (options is None) | (private is None) << 1
    before = head + bytes([nulls]) + bytes(5)
    return before + struct.pack(">Q", number) + bytes(13) + b"".join(columns), len(before)


def tablespaces(*found: tuple[bytes, int]) -> bytes:
    """A leaf with these rows, which are of one table."""
    content, last, at = bytearray(page(0, [])), 99, 130
    for one, origin in found:
        content[at : at + len(one)] = one
        begin = at + origin
        struct.pack_into(">H", content, last - 2, (begin - last) & 0xFFFF)
        last, at = begin, at + len(one)
    struct.pack_into(">H", content, last - 2, (112 - last) & 0xFFFF)
    return bytes(content)


def test_space_ids_of_tablespaces() -> None:
    own = tablespace(1, "mysql", b"encryption=N;id=9;", b"flags=18432;id=4294967294;server_version=90704;")
    leaf = tablespaces(
        own,
        tablespace(2, "g" * 200, None, b"id=7;state=normal;"),
        tablespace(3, "none", b"id=3;", None),
        tablespace(4, "other", b"", b"grid=8;"),
    )
    pages = [page(0, [OWN]), leaf]
    assert space_ids(lambda number: pages[number], 2) == {1: 4294967294, 2: 7}
    with pytest.raises(ValueError, match=r"mysql\.tablespaces is not found"):
        space_ids(lambda number: pages[number], 1)
    with pytest.raises(ValueError, match=r"mysql\.tablespaces is not found"):
        space_ids(lambda _: tablespaces(tablespace(1, "another", b"", b"id=1;")), 1)
