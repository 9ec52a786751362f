"""innoclone.sandbox.fill: data of the wanted size, of every kind, that refers to itself rightly."""

from __future__ import annotations

import pytest

from innoclone.sandbox.fill import fill
from innoclone.server.mysqld import Server
from servers import ServerFactory

MIB = 1024 * 1024


def rows(server: Server, statement: str) -> set[tuple[object, ...]]:
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return set(cursor.fetchall())


def test_every_kind_of_table_is_there(donor: Server) -> None:
    spaces = rows(donor, "SELECT row_format, zip_page_size, space_type FROM information_schema.innodb_tablespaces")
    assert {("Compressed", 8192, "Single"), ("Compressed", 4096, "Single"), ("Dynamic", 0, "Single")} <= spaces
    assert {("Any", 0, "General"), ("Undo", 0, "Undo")} <= spaces
    assert rows(donor, "SELECT COUNT(*) FROM information_schema.innodb_tablespaces WHERE space_type = 'Undo'") == {(3,)}
    tables = rows(donor, "SELECT engine, row_format, create_options FROM information_schema.tables")
    assert ("InnoDB", "Dynamic", 'COMPRESSION="zlib"') in tables
    assert {"Redundant", "Compact", "Compressed", "Dynamic"} <= {row[1] for row in tables}
    assert {"MyISAM", "CSV"} <= {row[0] for row in tables}
    kinds = {row[0] for row in rows(donor, "SELECT index_type FROM information_schema.statistics")}
    assert {"BTREE", "FULLTEXT", "SPATIAL"} <= kinds
    assert (donor.datadir / "gr@1i@1je@002dDaten" / "gr@1i@1je@002dDaten.ibd").is_file()


def test_rows_refer_to_rows_that_exist(donor: Server) -> None:
    for child, column, parent in (("orders", "customer", "customers"), ("items", "`order`", "orders")):
        orphans = f"SELECT COUNT(*) FROM shop.{child} c LEFT JOIN shop.{parent} p ON p.id = c.{column}"
        assert rows(donor, f"{orphans} WHERE p.id IS NULL") == {(0,)}
    assert rows(donor, "SELECT COUNT(*) > 100 FROM docs.articles WHERE MATCH (title, body) AGAINST ('trout')") == {(1,)}
    assert rows(donor, "SELECT COUNT(*) FROM shop.nothing_yet") == {(0,)}


@pytest.mark.parametrize("page_size", ["4k", "64k"])
def test_size_and_filling_again(make_server: ServerFactory, page_size: str) -> None:
    server = make_server(init=[f"--innodb-page-size={page_size}"])
    seen: list[float] = []
    assert 30 * MIB <= fill(server.connect, 30 * MIB, progress=seen.append) < 90 * MIB
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0.0, 1.0)
    before = max(rows(server, "SELECT MAX(id) FROM shop.customers"))
    assert 10 * MIB <= fill(server.connect, 10 * MIB, threads=1) < 40 * MIB
    assert max(rows(server, "SELECT MAX(id) FROM shop.customers")) > before
