"""SELECT beside a real server: the same rows in both, the same queries, and every column and value compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pymysql.connections import Connection

from paths import RECORDED
from selects import given_rows, ours, theirs
from servers import ServerFactory

QUERIES = RECORDED / "select-queries.txt"


@pytest.fixture(scope="module")
def server(make_module_server: ServerFactory) -> Iterator[Connection[Any]]:
    connection = make_module_server().connect()
    given_rows(connection)
    with connection.cursor() as cursor:
        cursor.execute("SET group_concat_max_len = DEFAULT")
    yield connection
    connection.close()


def test_the_same_answers(server: Connection[Any]) -> None:
    different = []
    for query in QUERIES.read_text().splitlines():
        if query and not query.startswith("--") and (mine := ours(query)) != (real := theirs(server, query)):
            different.append((query, mine, real))
    for query, mine, real in different:
        print(query)
        if isinstance(mine[0], int) or isinstance(real[0], int) or len(mine[0]) != len(real[0]):
            print(f"  ours   {mine}\n  theirs {real}")
            continue
        for one, other in zip(mine[0], real[0], strict=True):
            if one != other:
                print(f"  ours   {one}\n  theirs {other}")
        if mine[1] != real[1]:
            print(f"  ours   {mine[1]}\n  theirs {real[1]}")
    assert different == []
