"""Statements executed for a caller, without a connection: what each account may do, and to whom."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from innoclone.agent.accounts.accounts import Account, Accounts
from innoclone.agent.accounts.caller import Caller
from innoclone.agent.accounts.credentials import ADMINISTRATOR, LoginKeys, PasswordCache
from innoclone.agent.clones.manager import Clones
from innoclone.agent.connections import ClientKind, ConnectionLimits, Connections
from innoclone.agent.donors.donors import Donors
from innoclone.agent.faults import StatementError
from innoclone.agent.services import Services
from innoclone.agent.settings import AgentSettings
from innoclone.agent.statements.context import SessionContext
from innoclone.agent.statements.execution import Execution
from innoclone.agent.statements.results import Done, Rows
from innoclone.agent.variables.fixed import fixed_variables
from innoclone.agent.variables.globals import Variables
from innoclone.records.keys import PasswordKey, own_certificate
from innoclone.transport.failedlogins import FailedLogins
from innoclone.transport.listening import server_context


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    settings = AgentSettings(folder=tmp_path)
    fixed = fixed_variables(port=0, socket="", folder=str(tmp_path), packet=1 << 20, connections=2, timeout=60)
    variables = Variables(tmp_path, fixed)
    accounts, failed, connections = Accounts(tmp_path), FailedLogins(20, 60), Connections(ConnectionLimits(2))
    keys = LoginKeys(PasswordCache(), PasswordKey(tmp_path), server_context(*own_certificate(tmp_path)))
    return Services(
        settings=settings, accounts=accounts, variables=variables, failed_logins=failed,
        clones=Clones(tmp_path, variables, None), connections=connections,
        donors=Donors(settings, keys, accounts, failed, connections),
    )  # fmt: skip


class Connected:
    """A connection that has nobody at its other end."""

    kind, command, since, info, state = ClientKind.TCP, "Query", 0.0, "SELECT 1", "executing"
    traffic, is_cloning = (3, 4), False

    def __init__(self, services: Services, number: int, user: str) -> None:
        self.number, self.killed = number, False
        self.context = SessionContext(services, Caller(services.accounts, number, "10.0.0.9"))
        self.execution = Execution(self.context)
        account = ADMINISTRATOR if user == "root" else services.accounts.get(user, "%")
        assert account is not None
        self.execution.log_in(user, account, "", ("", ""))

    @property
    def caller(self) -> Caller:
        return self.context.caller

    @property
    def schema(self) -> str:
        return self.context.schema

    def kill(self, *, query_only: bool) -> None:
        self.killed = True

    def join(self, seconds: float) -> None: ...

    def rows(self, statement: str) -> list[tuple[object, ...]]:
        answer = self.execution.execute(statement)
        assert isinstance(answer, Rows)
        return list(answer.rows)


@pytest.fixture
def connect(services: Services) -> Callable[[str], Connected]:
    def connected(user: str) -> Connected:
        if user != "root" and services.accounts.get(user, "%") is None:
            services.accounts.put(Account(user, "%"))
        made = services.connections.open(ClientKind.TCP, lambda number: Connected(services, number, user))
        assert made is not None
        return made

    return connected


def code_of(connection: Connected, statement: str) -> int:
    with pytest.raises(StatementError) as caught:
        connection.execution.execute(statement)
    return caught.value.code


def test_what_is_granted_and_revoked_counts_at_once(connect: Callable[[str], Connected]) -> None:
    root, other = connect("root"), connect("other")
    assert code_of(other, "CLONE INSTANCE STOP") == 1227
    root.execution.execute("GRANT BACKUP_ADMIN ON *.* TO 'other'@'%'")
    assert isinstance(other.execution.execute("CLONE INSTANCE STOP"), Done)
    root.execution.execute("REVOKE BACKUP_ADMIN ON *.* FROM 'other'@'%'")
    assert code_of(other, "CLONE INSTANCE STOP") == 1227
    root.execution.execute("DROP USER 'other'@'%'")
    assert not other.caller.may("SELECT")


def test_who_sees_and_kills_whom(connect: Callable[[str], Connected]) -> None:
    root, other = connect("root"), connect("other")
    assert [row[:3] for row in root.rows("SHOW PROCESSLIST")] == [(1, "root", "10.0.0.9"), (2, "other", "10.0.0.9")]
    assert [row[0] for row in other.rows("SHOW PROCESSLIST")] == [2]
    assert code_of(other, "KILL 1") == 1095
    assert code_of(root, "KILL 3") == 1094
    root.execution.execute("GRANT CONNECTION_ADMIN ON *.* TO 'other'@'%'")
    assert code_of(other, "KILL 1") == 1227  # root has more than it
    assert not root.killed
    root.execution.execute("KILL 2")
    assert other.killed
    assert code_of(root, "KILL 1") == 1317  # itself


def test_a_third_of_one_kind_is_too_many(services: Services, connect: Callable[[str], Connected]) -> None:
    connect("root")
    connect("other")
    assert services.connections.open(ClientKind.TCP, lambda number: Connected(services, number, "other")) is None
    services.connections.remove(1)
    assert connect("other").number == 3, "a number is not used twice"


def test_what_one_session_holds_is_not_anothers(connect: Callable[[str], Connected]) -> None:
    first, second = connect("root"), connect("other")
    first.execution.execute("SET @x = 7")
    first.execution.execute("PREPARE p FROM 'SELECT @x + ?'")
    first.execution.execute("SET @y = 1.5")
    assert str(first.rows("EXECUTE p USING @y")[0][0]) == "8.5"
    assert second.rows("SELECT @x, USER(), CURRENT_USER()") == [(None, "other@10.0.0.9", "other@%")]
    assert code_of(second, "EXECUTE p USING @y") == 1243
    first.execution.reset()
    assert first.rows("SELECT @x") == [(None,)]


def test_plugins_by_name(services: Services, connect: Callable[[str], Connected]) -> None:
    root = connect("root")
    clone = ("clone", "ACTIVE", "CLONE", "mysql_clone.so", "MIT")
    assert clone in root.rows("SHOW PLUGINS")
    query = (
        "SELECT PLUGIN_NAME, PLUGIN_STATUS, PLUGIN_TYPE, PLUGIN_LIBRARY, PLUGIN_LICENSE FROM information_schema.plugins"
    )
    assert clone in root.rows(query)
    root.execution.execute("UNINSTALL PLUGIN clone")
    assert clone not in root.rows("SHOW PLUGINS")
    assert code_of(root, "CLONE LOCAL DATA DIRECTORY = '/nowhere/c'") == 1524
