"""innoclone.operation.replicate: the statements make a clone a replica that catches up and ends equal."""

from __future__ import annotations

from pathlib import Path

import pytest

from clones import booted, clone_server, rows
from innoclone import errors
from innoclone.engine.mysqld import Server
from innoclone.engine.programs import Programs
from innoclone.engine.replication import Position, change_source, start_replica
from innoclone.operation.boot import boot
from innoclone.operation.fill import fill
from innoclone.operation.invariants import check_invariants
from innoclone.operation.load import Load
from innoclone.operation.options import BootOptions, ReplicateOptions
from innoclone.operation.replicate import replicate
from innoclone.ops.manifest import read_manifest
from innoclone.transport.endpoint import Endpoint, SslMode
from servers import PASSWORD, ServerFactory, endpoint_of

MIB = 1 << 20
GTIDS = ("--gtid-mode=ON", "--enforce-gtid-consistency=ON")
REPLICA = ("--server-id=4711", "--skip-replica-start")


def checksums(server: Server) -> list[tuple[object, ...]]:
    tables = rows(
        server,
        "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE' AND"
        " ENGINE = 'InnoDB' AND TABLE_SCHEMA NOT IN ('mysql', 'sys') ORDER BY 1, 2",
    )
    return [row for schema, name in tables for row in rows(server, f"CHECKSUM TABLE `{schema}`.`{name}`")]


def catch_up(replica: Server, source: Server) -> None:
    """Until the replica has everything that the source has; a replica that stopped fails at once."""
    file, position, *_ = rows(source, "SHOW BINARY LOG STATUS")[0]
    assert rows(replica, f"SELECT SOURCE_POS_WAIT('{file}', {position}, 120) IS NOT NULL") == [(1,)], rows(
        replica, "SELECT LAST_ERROR_MESSAGE FROM performance_schema.replication_applier_status_by_worker"
    )
    assert rows(replica, f"SELECT SOURCE_POS_WAIT('{file}', {position}, 1) >= 0") == [(1,)]


@pytest.mark.parametrize("gtids", [True, False])
def test_printed_statements_make_a_replica(
    make_server: ServerFactory, programs: Programs, tmp_path: Path, gtids: bool
) -> None:
    """Cloned and started under load: the replica catches up and is equal, by GTIDs and by position."""
    server = make_server(*([] if gtids else ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"]))
    fill(server.connect, 2 * MIB)
    rows(server, "DROP SCHEMA misc")  # MyISAM rows that a clone lacks and the source may change
    directory = tmp_path / "clone"
    with Load(server.connect) as load:
        clone_server(server, directory)
        before = None if gtids else replicate(ReplicateOptions(directory, endpoint_of(server)))
        boot(BootOptions(directory))
        statements = replicate(ReplicateOptions(directory, endpoint_of(server)))
        assert before in (None, statements), "the position was known without a boot"
        assert PASSWORD not in "".join(statements)
        with booted(programs, directory, [*REPLICA, *(GTIDS if gtids else ["--gtid-mode=OFF"])]) as replica:
            for statement in statements:
                rows(replica, statement.replace("<password>", PASSWORD))
            load.stop()
            catch_up(replica, server)
            assert checksums(replica) == checksums(server)
            with replica.connect() as connection:
                assert check_invariants(connection) == []
            if gtids:
                assert rows(replica, "SELECT @@gtid_executed") == rows(server, "SELECT @@gtid_executed")
    assert load.errors == []
    auto = "SOURCE_AUTO_POSITION=1" in statements[0]
    position = read_manifest(directory)["position"]
    assert auto is gtids
    assert (f"SOURCE_LOG_POS={position['binlog_position']}" in statements[0]) is not gtids


@pytest.fixture(scope="module")
def source(make_module_server: ServerFactory) -> Server:
    server = make_module_server()
    rows(server, "CREATE SCHEMA s")
    rows(server, "CREATE TABLE s.t (id INT PRIMARY KEY)")
    return server


@pytest.fixture
def clone(source: Server, tmp_path: Path) -> Path:
    clone_server(source, tmp_path / "clone")
    return tmp_path / "clone"


def test_executed_on_a_running_clone(clone: Path, source: Server, programs: Programs) -> None:
    with booted(programs, clone, [*REPLICA, *GTIDS]) as replica:
        options = ReplicateOptions(Endpoint(socket=replica.socket), endpoint_of(source), run=True)
        statements = replicate(options)
        assert statements[1] == "START REPLICA"
        assert "SOURCE_PASSWORD='<password>'" in statements[0]
        rows(source, "INSERT INTO s.t SELECT COUNT(*) FROM s.t")
        catch_up(replica, source)
        assert checksums(replica) == checksums(source)
        with pytest.raises(errors.UsageError, match="replicates already"):
            replicate(options)


def test_failure_of_the_replica_is_told(clone: Path, source: Server, programs: Programs) -> None:
    """An account that may log in but not replicate; the replica does not go on trying."""
    with source.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_log_bin = 0")
        cursor.execute("CREATE USER IF NOT EXISTS reader IDENTIFIED BY 'x'")
    with booted(programs, clone, [*REPLICA, *GTIDS]) as replica:
        endpoint = endpoint_of(source, user="reader", password="x")
        with pytest.raises(errors.SqlError, match="the replica does not run: ") as caught:
            replicate(ReplicateOptions(Endpoint(socket=replica.socket), endpoint, run=True))
        assert "REPLICATION SLAVE" in caught.value.advice
        states = rows(replica, "SELECT SERVICE_STATE FROM performance_schema.replication_connection_status")
        assert states == [("OFF",)]


def test_refused(clone: Path, source: Server, programs: Programs, make_server: ServerFactory) -> None:
    """What could not work is said before anything is done."""
    donor = endpoint_of(source)
    with pytest.raises(errors.TargetUnusable, match="not known yet"):
        replicate(ReplicateOptions(clone, donor))
    boot(BootOptions(clone))
    with pytest.raises(errors.UsageError, match="no server runs on"):
        replicate(ReplicateOptions(clone, donor, run=True))
    server_id = rows(source, "SELECT @@server_id")[0][0]
    with booted(programs, clone, [f"--server-id={server_id}", "--gtid-mode=OFF"]) as replica:
        running = Endpoint(socket=replica.socket)
        with pytest.raises(errors.ConfigurationMismatch, match=f"same server_id {server_id}"):
            replicate(ReplicateOptions(running, donor))
        rows(replica, "SET GLOBAL server_id = 4711")
        with pytest.raises(errors.ConfigurationMismatch, match="gtid_mode=ON, the clone OFF"):
            replicate(ReplicateOptions(running, donor))
    stranger = make_server("--gtid-mode=OFF", "--enforce-gtid-consistency=OFF")
    with (
        booted(programs, clone, REPLICA) as replica,
        pytest.raises(errors.ConfigurationMismatch, match="not the clone's"),
    ):
        replicate(ReplicateOptions(Endpoint(socket=replica.socket), endpoint_of(stranger)))


def test_purged_transactions(make_server: ServerFactory, tmp_path: Path) -> None:
    server = make_server()
    directory = tmp_path / "clone"
    clone_server(server, directory)
    boot(BootOptions(directory))
    rows(server, "CREATE SCHEMA later")
    rows(server, "FLUSH BINARY LOGS")
    rows(server, f"PURGE BINARY LOGS TO '{rows(server, 'SHOW BINARY LOG STATUS')[0][0]}'")
    with pytest.raises(errors.ConfigurationMismatch, match=r"lacks transactions that .* has purged .*:1"):
        replicate(ReplicateOptions(directory, endpoint_of(server)))


def test_words_of_older_servers_and_tls() -> None:
    source = Endpoint("db.example", 3307, ssl_mode=SslMode.VERIFY_IDENTITY, ssl_ca=Path("/etc/ca's.pem"))
    assert change_source(source, 80400, None, user="o'neil") == (
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST='db.example', SOURCE_PORT=3307, SOURCE_USER='o''neil',"
        " SOURCE_PASSWORD='<password>', SOURCE_SSL=1, SOURCE_SSL_CA='/etc/ca''s.pem', SOURCE_SSL_VERIFY_SERVER_CERT=1,"
        " SOURCE_AUTO_POSITION=1"
    )
    plain = Endpoint("db.example", ssl_mode=SslMode.DISABLED)
    assert change_source(plain, 80022, Position("binlog.000007", 157), user="u") == (
        "CHANGE MASTER TO MASTER_HOST='db.example', MASTER_PORT=3306, MASTER_USER='u', MASTER_PASSWORD='<password>',"
        " MASTER_SSL=0, GET_MASTER_PUBLIC_KEY=1, MASTER_AUTO_POSITION=0, MASTER_LOG_FILE='binlog.000007',"
        " MASTER_LOG_POS=157"
    )
    assert [start_replica(version) for version in (80021, 80022, 90704)] == [
        "START SLAVE", "START REPLICA", "START REPLICA",
    ]  # fmt: skip
