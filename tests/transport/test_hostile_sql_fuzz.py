"""What a real donor answers to all that we ask it, with random damage: it ends, with success or one of our errors.

The answers are recorded once, from a donor, and then played back by a script. INNOCLONE_FUZZ_ROUNDS says how many
conversations are damaged, INNOCLONE_FUZZ_SEED with which number to begin; a round that fails tells its own number.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from arena import open_descriptors
from hostile_sql import HostileSql, Stranger, good_login, pretend_clone
from innoclone.commands.options import ReplicateOptions
from innoclone.commands.replicate import replicate
from innoclone.errors import CloneError
from innoclone.records.managedserver import Managed
from innoclone.server import snapshot
from innoclone.server.donorfiles import DonorFiles
from innoclone.server.mysqld import Server
from innoclone.server.preflight import check
from innoclone.server.replication import as_source, read_threads
from innoclone.server.servercontrol import Control
from innoclone.server.snapshot import binlog_status, open_snapshots
from innoclone.transport.endpoint import Endpoint
from innoclone.transport.sql import Sql
from innoclone.transport.sqlclient import SqlClient
from innoclone.verification.compare import compare_objects, list_objects, list_tables, read_definitions
from innoclone.wire.handshake import Err, Ok
from innoclone.wire.packets import PacketHeader
from servers import endpoint_of

ROUNDS = int(os.environ.get("INNOCLONE_FUZZ_ROUNDS", "100"))
SEED = int(os.environ.get("INNOCLONE_FUZZ_SEED", "1"))
GROUPS = 5
PATIENCE = 2.0  # seconds
IDLE = 0.05
QUESTIONS = 2  # of a round
FEW = 1 << 24  # bytes of an answer
NUMBERS = [0, 1, 2, 3, 0x7F, 0x80, 0xFA, 0xFB, 0xFC, 0xFD, 0xFE, 0xFF, 0xFFFF, 0xFFFFFF, (1 << 32) - 1, (1 << 64) - 1]

Talk = dict[str, list[bytes]]


def all_that_we_ask(to: Endpoint, folder: Path) -> list[Callable[[], object]]:
    """Every reader of a server's answers, each by itself."""

    def with_sql(read: Callable[[Sql], object]) -> Callable[[], object]:
        def ask() -> None:
            with Sql(to, read_timeout=PATIENCE, several=True, most=FEW) as sql:
                read(sql)

        return ask

    def snapshots() -> None:
        for gtids in (True, False):
            with open_snapshots(to, 1, gtids=gtids):
                pass

    def tables(sql: Sql) -> None:
        read_definitions(sql, dict(list(list_tables(sql).items())[:3]))
        compare_objects(sql, list_objects(sql), {kind: set() for kind in list_objects(sql)})

    managed = Managed(folder, to)
    return [
        lambda: check(to, None, stall_timeout=PATIENCE),
        with_sql(tables),
        with_sql(lambda sql: (binlog_status(sql), as_source(to, sql), read_threads(sql))),
        with_sql(lambda sql: DonorFiles.find(sql, folder)),
        snapshots,
        lambda: replicate(ReplicateOptions(folder, to)),
        lambda: replicate(ReplicateOptions(to, to)),
        lambda: Control(managed, folder, folder / "log").facts(),
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What passes for a clone whose position is known."""
    path: Path = tmp_path_factory.mktemp("clone")
    pretend_clone(path)
    return path


@pytest.fixture(scope="module")
def talk(small_donor: Server, folder: Path) -> Talk:
    """Statements and the packets with which a real server answers them."""
    said: Talk = {}
    current: dict[SqlClient, list[bytes]] = {}
    execute, payload = SqlClient._execute_command, SqlClient._payload

    def note_statement(self: SqlClient, command: int, sql: str | bytes) -> None:
        text = sql.decode() if isinstance(sql, bytes) else sql
        current[self] = said[text] = []
        execute(self, command, sql)

    def note_packet(self: SqlClient, more: int) -> bytes:
        data = payload(self, more)
        current[self].append(data)
        return data

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqlClient, "_execute_command", note_statement)
        patch.setattr(SqlClient, "_payload", note_packet)
        for ask in all_that_we_ask(endpoint_of(small_donor), folder):
            try:
                ask()
            except CloneError:
                continue
    assert len(said) > 30
    return said


class Damage:
    """Answers as recorded, but for some packets; ``seed`` decides which and how."""

    def __init__(self, talk: Talk, seed: int, *, idle: float = IDLE) -> None:
        self._talk, self._random, self._idle = talk, random.Random(seed), idle
        self.done = 0
        self._share = self._random.choice([0.003, 0.01, 0.03, 0.1])
        self._earlier: list[bytes] = [b""]

    def __call__(self, peer: Stranger, statement: str) -> None:
        peer.sock.settimeout(self._idle)  # a client that waits for more than there is finds the connection closed
        packets = self._talk.get(statement)
        if packets is None:
            known = statement.startswith(("SET", "ROLLBACK"))
            packets = [Ok().serialize() if known else Err(1064, "42000", "no").serialize()]
        for payload in packets:
            if self._random.random() < self._share:
                self._damage(peer, payload)
            else:
                peer.send(payload)
            self._earlier.append(payload)

    def _damage(self, peer: Stranger, payload: bytes) -> None:
        self.done += 1
        dice = self._random
        at = dice.randrange(len(payload)) if payload else 0
        match dice.randrange(9):
            case 0 | 1:
                bits = bytearray(payload or b"\0")
                bits[at] ^= 1 << dice.randrange(8)
                peer.send(bytes(bits))
            case 2 | 3:
                width = dice.choice([1, 2, 3, 8])
                number = (dice.choice(NUMBERS) & ((1 << 8 * width) - 1)).to_bytes(width, "little")
                peer.send(payload[:at] + number + payload[at + width :])
            case 4:
                peer.send(payload[:at])
            case 5:
                peer.send(payload + dice.randbytes(dice.randrange(1, 50)))
            case 6:
                peer.send(dice.choice(self._earlier))
            case 7:
                header = PacketHeader(dice.choice(NUMBERS) & 0xFFFFFF, dice.randrange(256))
                peer.raw(header.serialize() + payload)
            case _:
                peer.send(payload, payload)


@pytest.mark.parametrize("group", range(GROUPS))
def test_damaged_answers(talk: Talk, folder: Path, group: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "SNAPSHOT_LABEL_TIMEOUT", IDLE)
    before = open_descriptors()
    done = 0
    for seed in range(SEED + group * ROUNDS // GROUPS, SEED + (group + 1) * ROUNDS // GROUPS):
        damage = Damage(talk, seed)
        with HostileSql(good_login, damage) as server:
            questions = list(enumerate(all_that_we_ask(server.endpoint(connect_timeout=PATIENCE), folder)))
            for number, ask in random.Random(seed).sample(questions, QUESTIONS):
                try:
                    ask()
                except CloneError as error:
                    fit = type(error) is not CloneError and error.code > 0
                    assert fit, f"round {seed}, question {number}: {error!r}"  # noqa: PT017 - of each there are many
                except Exception as error:
                    raise AssertionError(f"round {seed}, question {number}") from error
        done += damage.done
    assert open_descriptors() == before
    assert done, "nothing was damaged"


def test_what_was_recorded_is_understood(talk: Talk, folder: Path) -> None:
    """Else nothing is tried by damaging it."""
    answers = Damage(talk, 1, idle=20.0)
    answers._share = 0
    with HostileSql(good_login, answers) as server:
        facts = check(server.endpoint(), None)
        assert facts.problems == []
        assert facts.data_bytes
        with Sql(server.endpoint()) as sql:
            assert "theirs.t" in list_tables(sql)
