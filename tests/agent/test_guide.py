"""The guide's statements in its order, as they are typed there, and its scripts, through the real client.

-s prints them row by row, with a verdict for each row at the end. Hosts, ports, passwords and paths are the test's.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents import PATIENCE, RunningAgent, beside
from innoclone.agent.variables.globals import CLONE_VARIABLES
from innoclone.sandbox.server import ACCOUNT
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from servers import PASSWORD

# Row, what comes of it ("ok", a number of rows, or the number of an error), statement. 3869 is the answer of an agent
# that manages no server; 1046 where the guide means a user's own table, on a server.
STATEMENTS = """\
B1|ok|INSTALL PLUGIN clone SONAME 'mysql_clone.so'
B1|1|SELECT PLUGIN_NAME, PLUGIN_STATUS \n\
FROM INFORMATION_SCHEMA.PLUGINS \n\
WHERE PLUGIN_NAME = 'clone'
B2|ok|CLONE LOCAL DATA DIRECTORY = '{folder}/mysql_clone'
B4|1|SELECT STAGE, STATE, BEGIN_TIME, END_TIME, \n\
       BINLOG_FILE, BINLOG_POSITION\n\
FROM performance_schema.clone_status
B5|7|SELECT STAGE, STATE, \n\
       ESTIMATE, DATA, NETWORK, \n\
       DATA_SPEED, NETWORK_SPEED\n\
FROM performance_schema.clone_progress
C1|ok|CREATE USER 'clone_user'@'%' IDENTIFIED BY 'clone_password'
C1|ok|GRANT BACKUP_ADMIN ON *.* TO 'clone_user'@'%'
C2|ok|SET GLOBAL clone_autotune_concurrency = ON
C2|ok|SET GLOBAL clone_max_concurrency = 16
C2|ok|SET GLOBAL clone_buffer_size = 4194304;  -- 4MB
C1|1396|CREATE USER 'clone_user'@'%' IDENTIFIED BY 'clone_password'
C1|ok|GRANT CLONE_ADMIN ON *.* TO 'clone_user'@'%'
C3|ok|SET GLOBAL clone_valid_donor_list = '127.0.0.1:{port}'
C4|3869|CLONE INSTANCE FROM '{account}'@'127.0.0.1':{port} \n\
IDENTIFIED BY '{password}'
C6|3869|CLONE INSTANCE FROM '{account}'@'127.0.0.1':{port} \n\
IDENTIFIED BY '{password}'\n\
REQUIRE SSL
C5|ok|CLONE INSTANCE FROM '{account}'@'127.0.0.1':{port} \n\
IDENTIFIED BY '{password}'\n\
DATA DIRECTORY = '{folder}/remote'
C7|ok|SET GLOBAL clone_enable_compression = ON
C7|3869|CLONE INSTANCE FROM '{account}'@'127.0.0.1':{port} \n\
IDENTIFIED BY '{password}'
D3|ok|SET GLOBAL clone_block_ddl = ON;           -- DDL
D3|ok|SET GLOBAL clone_donor_timeout_after_network_failure = 5
D3|ok|SET GLOBAL clone_ddl_timeout = 300;        -- DDL
D5|ok|SET GLOBAL clone_max_network_bandwidth = 0; -- 0
D4|7|SELECT \n\
    STAGE,\n\
    ESTIMATE,\n\
    DATA,\n\
    NETWORK,\n\
    (DATA / ESTIMATE * 100) as PROGRESS_PCT\n\
FROM performance_schema.clone_progress
D4|ok|SHOW ENGINE INNODB STATUS\\G
E2|ok|SET GLOBAL clone_max_network_bandwidth = 104857600;  -- 100MB/s
D5|ok|SET GLOBAL clone_max_concurrency = 8;               -- 8
D5|ok|SET GLOBAL clone_buffer_size = 8388608;             -- 8MB
D5|ok|SET GLOBAL clone_autotune_concurrency = ON;         -- ON
E1|ok|SET GLOBAL clone_max_concurrency = 32
E1|ok|SET GLOBAL clone_buffer_size = 16777216;        -- 16MB
E1|ok|SET GLOBAL clone_max_network_bandwidth = 0;     -- 0
E1|ok|SET GLOBAL clone_max_concurrency = 8
E1|ok|SET GLOBAL clone_buffer_size = 4194304;         -- 4MB
E2|ok|SET GLOBAL clone_max_network_bandwidth = 52428800; -- 50MB/s
E3|ok|SET GLOBAL clone_enable_compression = ON
E3|7|SELECT \n\
    STAGE,\n\
    DATA as ORIGINAL_SIZE,\n\
    NETWORK as COMPRESSED_SIZE,\n\
    (1 - NETWORK/DATA) * 100 as COMPRESSION_RATIO\n\
FROM performance_schema.clone_progress
F1|7|SELECT \n\
    ID,\n\
    STAGE,\n\
    STATE,\n\
    BEGIN_TIME,\n\
    ESTIMATE,\n\
    DATA,\n\
    NETWORK,\n\
    ROUND(DATA/ESTIMATE*100, 2) as PROGRESS_PCT,\n\
    DATA_SPEED,\n\
    NETWORK_SPEED\n\
FROM performance_schema.clone_progress
F1|2|SELECT * FROM performance_schema.clone_status
F3|2|SELECT \n\
    BEGIN_TIME,\n\
    END_TIME,\n\
    STATE,\n\
    ERROR_NO,\n\
    ERROR_MESSAGE,\n\
    TIMEDIFF(END_TIME, BEGIN_TIME) as DURATION\n\
FROM performance_schema.clone_status\n\
ORDER BY BEGIN_TIME DESC
F4|ok|CLONE INSTANCE STOP
G1|ok|CREATE USER 'clone_donor'@'192.168.1.%' IDENTIFIED BY 'strong_password'
G1|ok|GRANT BACKUP_ADMIN ON *.* TO 'clone_donor'@'192.168.1.%'
G1|ok|CREATE USER 'clone_recipient'@'localhost' IDENTIFIED BY 'strong_password'
G1|ok|GRANT CLONE_ADMIN ON *.* TO 'clone_recipient'@'localhost'
G1|ok|SET GLOBAL clone_valid_donor_list = '192.168.1.100:3306,192.168.1.101:3306'
E4|ok|SET GLOBAL clone_ssl_ca = '/path/to/ca.pem'
E4|ok|SET GLOBAL clone_ssl_cert = '/path/to/client-cert.pem'
E4|ok|SET GLOBAL clone_ssl_key = '/path/to/client-key.pem'
G1|3869|CLONE INSTANCE FROM 'user'@'host':3306 \n\
IDENTIFIED BY 'password'\n\
REQUIRE SSL
G2|0|SELECT ERROR_NO, ERROR_MESSAGE, BINLOG_FILE, BINLOG_POSITION\n\
FROM performance_schema.clone_status \n\
WHERE STATE = 'Failed'
G4|ok|SET GLOBAL clone_donor_timeout_after_network_failure = 5;  -- 5
G4|ok|SET GLOBAL clone_max_network_bandwidth = 0;                -- 0
G5|1|SELECT COUNT(*) FROM information_schema.tables
G5|1046|SELECT COUNT(*) FROM your_table
G5|1046|SELECT BIT_XOR(CRC32(CONCAT_WS(',', col1, col2, col3))) \n\
FROM your_table
G5|2|SELECT BINLOG_FILE, BINLOG_POSITION \n\
FROM performance_schema.clone_status
G5|1|SHOW MASTER STATUS
H1|1125|INSTALL PLUGIN clone SONAME 'mysql_clone.so'
H1|ok|CREATE USER 'clone_user'@'192.168.1.%' IDENTIFIED BY 'strong_password'
H1|ok|GRANT BACKUP_ADMIN ON *.* TO 'clone_user'@'192.168.1.%'
H1|ok|SET GLOBAL clone_enable_compression = ON
H1|ok|SET GLOBAL clone_valid_donor_list = '192.168.1.100:3306'
F5|ok|FLUSH LOGS
"""


@pytest.fixture
def agent(programs: Programs, tmp_path: Path, donor: Server) -> Iterator[RunningAgent]:
    with RunningAgent(programs, tmp_path / "state", beside(donor, tmp_path)) as running:
        yield running


def statements() -> Iterator[tuple[str, str, str]]:
    found: list[list[str]] = []
    for line in STATEMENTS.splitlines():
        if line[2:3] == "|":
            found.append(line.split("|", 2))
        else:
            found[-1][2] += "\n" + line
    yield from ((row, outcome, statement) for row, outcome, statement in found)


def outcome_of(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode:
        return done.stderr.split("ERROR ", 1)[1].split(" ", 1)[0]
    return str(max(len(done.stdout.splitlines()) - 1, 0))  # without a row there is no heading either


def test_the_guides_statements(agent: RunningAgent, donor: Server, tmp_path: Path) -> None:
    rows: dict[str, list[bool]] = {}
    for row, expected, statement in statements():
        text = statement.format(folder=tmp_path, port=donor.port, account=ACCOUNT, password=PASSWORD)
        done = agent.mysql(text, f"--socket={agent.socket}", "--user=root", "--commands")  # for the \\G
        outcome = outcome_of(done)
        good = outcome == expected or (expected == "ok" and done.returncode == 0)
        rows.setdefault(row, []).append(good)
        print(f"{row}  {text}\n{done.stdout[:2000]}{done.stderr}{'' if good else f'expected {expected}'}")
    for row, verdicts in sorted(rows.items()):
        print(f"{row}  {sum(verdicts)} of {len(verdicts)} as the guide says")
    assert all(all(verdicts) for verdicts in rows.values())


FIRST_SCRIPT = """\
#!/bin/bash
# monitoring

while true; do
    mysql -u root -p -e "
    SELECT \n\
        CONCAT(ROUND(DATA/ESTIMATE*100, 1), '%') as PROGRESS,
        STAGE,
        STATE,
        CONCAT(ROUND(DATA_SPEED/1024/1024, 1), ' MB/s') as SPEED
    FROM performance_schema.clone_progress;
    "
    sleep 5
done
"""
SECOND_SCRIPT = """\
# monitoring
while true; do
    mysql -e "
    SELECT \n\
        CONCAT(ROUND(DATA/ESTIMATE*100,1),'%') as PROGRESS,
        STAGE, STATE,
        CONCAT(ROUND(DATA_SPEED/1024/1024,1),' MB/s') as SPEED,
        ERROR_MESSAGE
    FROM performance_schema.clone_progress;
    "
    sleep 10
done
"""
RESTART = """mysql -e "CLONE INSTANCE FROM 'user'@'host':3306 IDENTIFIED BY 'pass';\""""


@pytest.fixture
def bash(agent: RunningAgent, programs: Programs, tmp_path: Path) -> dict[str, str]:
    """An environment in which ``mysql`` finds the agent, and no sleep is long. Nothing in a script is changed."""
    assert programs.mysql is not None
    folder = tmp_path / "bin"
    folder.mkdir()
    (tmp_path / "my.cnf").write_text(f"[client]\nsocket={agent.socket}\nuser=root\n")
    command = f"exec {' '.join(programs.mysql)} --defaults-file={tmp_path}/my.cnf"
    for name, line in (("mysql", f'{command} "$@"'), ("sleep", "exec /bin/sleep 0.3")):
        (folder / name).write_text(f"#!/bin/bash\n{line}\n")
        (folder / name).chmod(0o755)
    return os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}


def answer_until(loop: subprocess.Popen[bytes], output: Path, wanted: bytes) -> None:
    """Type an empty password whenever one is asked for, until the output has what is wanted."""
    assert loop.stdin is not None
    end = time.monotonic() + PATIENCE
    answered = output.read_bytes().count(b"Enter password: ") - 1 if output.stat().st_size else 0
    while wanted not in (said := output.read_bytes()):
        assert time.monotonic() < end, said.decode()
        asked = said.count(b"Enter password: ")
        loop.stdin.write(b"\n" * max(asked - answered, 0))
        loop.stdin.flush()
        answered = max(asked, answered)
        time.sleep(0.05)


@pytest.mark.parametrize("script", [FIRST_SCRIPT, SECOND_SCRIPT])
def test_the_guides_monitoring_loops(
    agent: RunningAgent, donor: Server, bash: dict[str, str], tmp_path: Path, script: str
) -> None:
    """While a clone runs, and after it; the first script asks for a password each time."""
    agent.rows(f"SET GLOBAL clone_valid_donor_list = '127.0.0.1:{donor.port}', clone_max_data_bandwidth = 8")
    statement = (
        f"CLONE INSTANCE FROM '{ACCOUNT}'@'127.0.0.1':{donor.port} IDENTIFIED BY '{PASSWORD}'"
        f" DATA DIRECTORY = '{tmp_path}/c'"
    )
    thread = threading.Thread(target=agent.mysql, args=(statement,))
    thread.start()
    output = tmp_path / "output"
    with output.open("wb") as file:
        loop = subprocess.Popen(
            ["bash", "-c", script], env=bash, stdin=subprocess.PIPE, stdout=file, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        answer_until(loop, output, b"\tFILE COPY\tIn Progress\t")
        agent.rows("SET GLOBAL clone_max_data_bandwidth = 0")
        answer_until(loop, output, b"100.0%\tFILE COPY\tCompleted\t")
        loop.kill()
        loop.wait()
    thread.join()
    heading = "PROGRESS\tSTAGE\tSTATE\tSPEED" + ("\tERROR_MESSAGE" if "ERROR_MESSAGE" in script else "")
    assert output.read_text().count(heading + "\n") >= 2
    assert "ERROR" not in output.read_text().replace("ERROR_MESSAGE", "")


def test_the_guides_restart(agent: RunningAgent, bash: dict[str, str]) -> None:
    done = subprocess.run(["bash", "-c", RESTART], env=bash, capture_output=True, text=True, check=False, timeout=60)
    assert "ERROR 3869 (HY000)" in done.stderr  # from a donor that isn't listed; the parser takes it


def test_uninstalled_it_refuses_to_clone(agent: RunningAgent, programs: Programs, tmp_path: Path) -> None:
    """A new agent clones at once; INSTALL succeeds on it once, and after UNINSTALL, as on a server."""
    install = "INSTALL PLUGIN clone SONAME 'mysql_clone.so'"
    local = f"CLONE LOCAL DATA DIRECTORY = '{tmp_path}/a'"
    assert agent.mysql(local).returncode == 0
    assert [outcome_of(agent.mysql(install)) for _ in range(2)] == ["0", "1125"]
    agent.rows("SET GLOBAL clone_ddl_timeout = 3, PERSIST clone_max_concurrency = 7")
    assert [outcome_of(agent.mysql(one)) for one in ("UNINSTALL PLUGIN clone", install)] == ["0", "0"]
    assert agent.rows("SELECT @@clone_ddl_timeout, @@clone_max_concurrency") == [(300, 16)]
    assert outcome_of(agent.mysql("UNINSTALL PLUGIN clone")) == "0"
    for statement in (local, "SET GLOBAL clone_ddl_timeout = 3", "UNINSTALL PLUGIN clone"):
        assert outcome_of(agent.mysql(statement)) in ("1524", "1193", "1305")
    assert agent.rows("SHOW VARIABLES LIKE 'clone%'") == []
    assert agent.terminate() == 0
    with RunningAgent(programs, tmp_path / "state") as second:
        assert agent.rows("SELECT 1 FROM information_schema.plugins WHERE PLUGIN_NAME = 'clone'") == []
        assert outcome_of(second.mysql(install)) == "0"
        assert len(second.rows("SHOW VARIABLES LIKE 'clone%'")) == len(CLONE_VARIABLES)
        assert outcome_of(second.mysql(install)) == "1125"
