"""Names that a donor gives: what is accepted, where it goes, and that nothing leaves the target."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innoclone.errors import PathRefused
from innoclone.files.names import ANY_TABLE, clash, place, same_names
from innoclone.innodb.space import NO_SPACE, SYSTEM_SPACE, UNDO_SPACE_MAX

ROOT = Path("/clone")
UNDO = UNDO_SPACE_MAX


@pytest.mark.parametrize(
    ("name", "space_id"),
    [("./s/t.ibd", ANY_TABLE), ("s/t#p#p0.ibd", ANY_TABLE), ("mysql.ibd", ANY_TABLE), ("ibdata1", SYSTEM_SPACE),
     ("my_system-1.2", SYSTEM_SPACE), ("ib_buffer_pool", NO_SPACE), ("undo_001", UNDO), ("more.ibu", UNDO),
     ("@4e2d/" + "x" * 240 + ".ibd", ANY_TABLE)],
)  # fmt: skip
def test_what_servers_send_is_placed_below_the_target(name: str, space_id: int) -> None:
    assert place(name, space_id, ROOT) == ROOT / name.removeprefix("./")


@pytest.mark.parametrize(
    ("name", "space_id"),
    [("", ANY_TABLE), ("../t.ibd", ANY_TABLE), ("s/../../t.ibd", ANY_TABLE), ("..", SYSTEM_SPACE), (".", SYSTEM_SPACE),
     ("a/b/t.ibd", ANY_TABLE), ("t", ANY_TABLE), ("s/t.cnf", ANY_TABLE), ("#innoclone/t.ibd", ANY_TABLE),
     ("#clone/t.ibd", ANY_TABLE), ("s/t\n.ibd", ANY_TABLE), ("s/t\x1b[1m.ibd", ANY_TABLE), ("s/t\x9b.ibd", ANY_TABLE),
     ("auto.cnf", SYSTEM_SPACE), ("MY.CNF", SYSTEM_SPACE), ("key.pem", SYSTEM_SPACE), ("mysql.ibd", SYSTEM_SPACE),
     ("ib_buffer_pool", SYSTEM_SPACE), ("ib_buffer_pool", ANY_TABLE), (".hidden", SYSTEM_SPACE), ("#x", SYSTEM_SPACE),
     ("s/ibdata1", SYSTEM_SPACE), ("my.cnf", NO_SPACE), ("undo_x", UNDO), ("undo_1\n", UNDO), ("my.cnf", UNDO),
     ("s/" + "x" * 241 + ".ibd", ANY_TABLE), ("/".join(["s" * 200] * 21), ANY_TABLE)],
)  # fmt: skip
def test_anything_else_is_refused(name: str, space_id: int) -> None:
    with pytest.raises(PathRefused) as caught:
        place(name, space_id, ROOT)
    assert not any(unicodedata.category(letter) == "Cc" for letter in caught.value.message)


@given(st.text(max_size=30), st.sampled_from([ANY_TABLE, SYSTEM_SPACE, NO_SPACE, UNDO]))
def test_no_name_leaves_the_target(name: str, space_id: int) -> None:
    """Nor the places that a mapping names, and ours and the server's own files are none of it."""
    try:
        path = place(name, space_id, ROOT, (("/donor", "/mapped"),))
    except PathRefused:
        return
    assert ".." not in path.parts
    assert path.is_relative_to(ROOT) or path.is_relative_to("/mapped")
    assert len(path.parts) <= 4
    assert not path.relative_to("/").parts[1].startswith("#")


def test_files_elsewhere_go_where_the_longest_prefix_sends_them() -> None:
    mapping = (("/d", "/short"), ("/d/fast", "/long"), ("/d/fastest", "/other"))
    assert place("/d/fast/s/t.ibd", ANY_TABLE, ROOT, mapping) == Path("/long/s/t.ibd")
    assert place("/d/x/undo_001", UNDO, ROOT, mapping) == Path("/short/x/undo_001")
    assert place("/d/ibdata2", SYSTEM_SPACE, ROOT, mapping) == Path("/short/ibdata2")
    with pytest.raises(PathRefused, match="outside its data directory") as caught:
        place("/dd/t.ibd", ANY_TABLE, ROOT, mapping)
    assert "--map-path /dd=DIRECTORY" in caught.value.advice
    for name in ("/d/my.cnf", "/d/undo_x", "/d/../etc/t.ibd"):
        with pytest.raises(PathRefused):
            place(name, ANY_TABLE, ROOT, mapping)


def test_two_files_for_one_place_are_told() -> None:
    error = clash(Path("/fast/t.ibd"), "/a/t.ibd", "/b/t.ibd")
    assert "'/a/t.ibd' and '/b/t.ibd' would both be /fast/t.ibd" in error.message
    assert "--map-path" in error.advice
    assert "undo files with same name: undo_001" in same_names(UNDO, "undo_001").message
    assert "DROP it" in same_names(UNDO, "undo_001").advice
    assert "system tablespace files with same name: ibdata1" in same_names(SYSTEM_SPACE, "ibdata1").message
