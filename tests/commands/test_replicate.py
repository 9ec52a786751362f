"""innoclone.commands.replicate: the statements make a clone a replica that catches up and ends equal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from clones import booted, clone_server, rows
from innoclone import errors
from innoclone.commands.boot import boot
from innoclone.commands.options import BootOptions, ReplicateOptions
from innoclone.commands.replicate import replicate
from innoclone.records.manifest import read_manifest
from innoclone.sandbox.fill import fill
from innoclone.sandbox.invariants import check_invariants
from innoclone.sandbox.load import Load
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.server.replication import Position, change_source, reset_channels, start_replica
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
        boot(BootOptions(directory))
        statements = replicate(ReplicateOptions(directory, endpoint_of(server))).statements
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
    auto = "SOURCE_AUTO_POSITION=1" in statements[-2]
    position = read_manifest(directory)["position"]
    assert auto is gtids
    assert (f"SOURCE_LOG_POS={position['binlog_position']}" in statements[-2]) is not gtids


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
        options = ReplicateOptions(Endpoint(socket=replica.socket), endpoint_of(source), run=True, wait=0.5)
        rows(source, "INSERT INTO s.t SELECT COUNT(*) FROM s.t")
        with replica.connect() as connection, connection.cursor() as cursor:
            cursor.execute("LOCK TABLES s.t READ")
            result = replicate(options)
        assert (result.executed, result.caught_up) == (True, False)
        assert "but has not caught up within 0.5 s: it lacks" in result.notes[-1]
        catch_up(replica, source)
        result = replicate(replace(options, reset_channels=True, wait=60))
        assert result.statements[-1] == "START REPLICA"
        assert "SOURCE_PASSWORD='<password>'" in result.statements[-2]
        assert (result.executed, result.caught_up, len(result.notes)) == (True, True, 1)
        assert result.notes[0].startswith("the replica gets the account clone, which the clone was made with")
        rows(source, "INSERT INTO s.t SELECT COUNT(*) FROM s.t")
        catch_up(replica, source)
        assert checksums(replica) == checksums(source)
        with pytest.raises(errors.UsageError, match="a thread of the default channel runs"):
            replicate(options)


def test_failure_of_the_replica_is_told(clone: Path, source: Server, programs: Programs) -> None:
    """What can be known before is; a replica that fails later is stopped, and is as before where it applied nothing."""
    with source.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_log_bin = 0")
        cursor.execute("CREATE USER IF NOT EXISTS reader IDENTIFIED BY 'x'")
        # As many logins as we need ourselves: the replica's own is refused.
        cursor.execute("CREATE USER IF NOT EXISTS once IDENTIFIED BY 'x' WITH MAX_CONNECTIONS_PER_HOUR 1")
        cursor.execute("GRANT REPLICATION SLAVE ON *.* TO once")
    channels = "SELECT CHANNEL_NAME, SERVICE_STATE FROM performance_schema.replication_connection_status"
    with booted(programs, clone, [*REPLICA, *GTIDS]) as replica:
        running = Endpoint(socket=replica.socket)
        with pytest.raises(errors.PrivilegeMissing, match="reader lacks REPLICATION SLAVE on") as caught:
            replicate(ReplicateOptions(running, endpoint_of(source, user="reader", password="x"), run=True))
        assert "GRANT REPLICATION SLAVE" in caught.value.advice
        with pytest.raises(errors.SqlError, match=r"the replica does not run: \d+: .*max_connections_per_hour"):
            replicate(ReplicateOptions(running, endpoint_of(source, user="once", password="x"), run=True))
        assert rows(replica, channels) == []
        # A row of its own in the way of one that comes.
        number = rows(source, "SELECT COUNT(*) FROM s.t")[0][0]
        with replica.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"INSERT INTO s.t VALUES ({number})")
        rows(source, "INSERT INTO s.t SELECT COUNT(*) FROM s.t")
        with pytest.raises(errors.SqlError, match="the replica does not run: 1062: "):
            replicate(ReplicateOptions(running, endpoint_of(source), run=True))
        assert rows(replica, channels) in ([], [("", "OFF")])


def test_refused(clone: Path, source: Server, programs: Programs, make_server: ServerFactory) -> None:
    """What could not work is said before anything is done."""
    donor = endpoint_of(source)
    with pytest.raises(errors.TargetUnusable, match="not known yet"):
        replicate(ReplicateOptions(clone, donor))
    boot(BootOptions(clone))
    with pytest.raises(errors.UsageError, match="no server is named that could execute"):
        replicate(ReplicateOptions(clone, donor, run=True))
    server_id = rows(source, "SELECT @@server_id")[0][0]
    with booted(programs, clone, [f"--server-id={server_id}", "--gtid-mode=OFF"]) as replica:
        running = Endpoint(socket=replica.socket)
        with pytest.raises(errors.ConfigurationMismatch, match=f"same server_id {server_id}"):
            replicate(ReplicateOptions(running, donor))
        rows(replica, "SET GLOBAL server_id = 4711")
        with pytest.raises(errors.ConfigurationMismatch, match="gtid_mode=ON, the clone OFF"):
            replicate(ReplicateOptions(running, donor))
    with (
        booted(programs, clone, [*REPLICA, "--disable-log-bin"]) as silent,
        pytest.raises(errors.ConfigurationMismatch, match="has no binary log: nothing can replicate from it"),
    ):
        replicate(ReplicateOptions(clone, Endpoint(socket=silent.socket)))
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
    """Each setting that the version has is stated; values are not taken for words."""
    source = Endpoint("db.example", 3307, ssl_mode=SslMode.VERIFY_IDENTITY, ssl_ca=Path("/etc/ca's.pem"))
    assert change_source(source, 80400, None, user="o'neil") == (
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST='db.example', SOURCE_PORT=3307, SOURCE_USER='o''neil',"
        " SOURCE_PASSWORD='<password>',\n  SOURCE_AUTO_POSITION=1,\n  SOURCE_SSL=1, SOURCE_SSL_CA='/etc/ca''s.pem',"
        " SOURCE_SSL_CAPATH='', SOURCE_SSL_CERT='', SOURCE_SSL_KEY='', SOURCE_SSL_CRL='', SOURCE_SSL_CRLPATH='',"
        " SOURCE_SSL_CIPHER='', SOURCE_SSL_VERIFY_SERVER_CERT=1, SOURCE_TLS_VERSION='', SOURCE_TLS_CIPHERSUITES=NULL,"
        " SOURCE_PUBLIC_KEY_PATH='', GET_SOURCE_PUBLIC_KEY=0,\n  SOURCE_CONNECT_RETRY=60, SOURCE_RETRY_COUNT=10,"
        " SOURCE_HEARTBEAT_PERIOD=30, SOURCE_BIND='', SOURCE_DELAY=0, IGNORE_SERVER_IDS=(),"
        " SOURCE_COMPRESSION_ALGORITHMS='uncompressed', SOURCE_ZSTD_COMPRESSION_LEVEL=3, PRIVILEGE_CHECKS_USER=NULL,"
        " REQUIRE_ROW_FORMAT=0, REQUIRE_TABLE_PRIMARY_KEY_CHECK=STREAM, NETWORK_NAMESPACE='',"
        " SOURCE_CONNECTION_AUTO_FAILOVER=0, ASSIGN_GTIDS_TO_ANONYMOUS_TRANSACTIONS=OFF, GTID_ONLY=0"
    )
    plain = Endpoint("db.example", ssl_mode=SslMode.DISABLED)
    assert change_source(plain, 80017, Position("binlog.000007", 157), user="SOURCE_REPLICA") == (
        "CHANGE MASTER TO MASTER_HOST='db.example', MASTER_PORT=3306, MASTER_USER='SOURCE_REPLICA',"
        " MASTER_PASSWORD='<password>',\n  MASTER_AUTO_POSITION=0, MASTER_LOG_FILE='binlog.000007', MASTER_LOG_POS=157,"
        "\n  MASTER_SSL=0, MASTER_SSL_CA='', MASTER_SSL_CAPATH='', MASTER_SSL_CERT='', MASTER_SSL_KEY='',"
        " MASTER_SSL_CRL='', MASTER_SSL_CRLPATH='', MASTER_SSL_CIPHER='', MASTER_SSL_VERIFY_SERVER_CERT=0,"
        " MASTER_TLS_VERSION='',"
        " MASTER_PUBLIC_KEY_PATH='', GET_MASTER_PUBLIC_KEY=0,\n  MASTER_CONNECT_RETRY=60, MASTER_RETRY_COUNT=86400,"
        " MASTER_HEARTBEAT_PERIOD=30, MASTER_BIND='', MASTER_DELAY=0, IGNORE_SERVER_IDS=()"
    )
    assert [start_replica(version) for version in (80021, 80022, 90704)] == [
        "START SLAVE", "START REPLICA", "START REPLICA",
    ]  # fmt: skip
    assert reset_channels(80021) == ["STOP SLAVE", "RESET SLAVE ALL"]
    assert reset_channels(80027)[2:] == ["SELECT asynchronous_connection_failover_reset()"]
