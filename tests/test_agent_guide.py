"""The guide's statements in its order, as they are typed there, through the real client; -s prints them.

Left out is what the agent has not: CLONE INSTANCE without DATA DIRECTORY, SHOW ENGINE INNODB STATUS, users' tables.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents import RunningAgent
from innoclone.engine.mysqld import Server
from innoclone.engine.programs import Programs
from innoclone.operation.sandbox import ACCOUNT
from servers import PASSWORD

STATEMENTS = """\
B1|INSTALL PLUGIN clone SONAME 'mysql_clone.so'
B1|SELECT PLUGIN_NAME, PLUGIN_STATUS  FROM INFORMATION_SCHEMA.PLUGINS  WHERE PLUGIN_NAME = 'clone'
B2|CLONE LOCAL DATA DIRECTORY = '{folder}/mysql_clone'
B4|SELECT STAGE, STATE, BEGIN_TIME, END_TIME, BINLOG_FILE, BINLOG_POSITION FROM performance_schema.clone_status
B5|SELECT STAGE, STATE, ESTIMATE, DATA, NETWORK, DATA_SPEED, NETWORK_SPEED FROM performance_schema.clone_progress
C1|CREATE USER 'clone_user'@'%' IDENTIFIED BY 'clone_password'
C1|GRANT BACKUP_ADMIN ON *.* TO 'clone_user'@'%'
C1|GRANT CLONE_ADMIN ON *.* TO 'clone_user'@'%'
C2|SET GLOBAL clone_autotune_concurrency = ON
C2|SET GLOBAL clone_max_concurrency = 16
C2|SET GLOBAL clone_buffer_size = 4194304  -- 4MB
C3|SET GLOBAL clone_valid_donor_list = '127.0.0.1:{port}'
D3|SET GLOBAL clone_donor_timeout_after_network_failure = 5
D3|SET GLOBAL clone_ddl_timeout = 300        -- DDL
E2|SET GLOBAL clone_max_network_bandwidth = 104857600  -- 100MB/s
C7|SET GLOBAL clone_enable_compression = ON
C5|CLONE INSTANCE FROM '{account}'@'127.0.0.1':{port} IDENTIFIED BY '{password}' DATA DIRECTORY = '{folder}/remote'
C6|CLONE INSTANCE FROM '{account}'@'127.0.0.1':{port} IDENTIFIED BY '{password}' DATA DIRECTORY = '{folder}/r' \
REQUIRE SSL
D4|SELECT STAGE, ESTIMATE, DATA, NETWORK, (DATA / ESTIMATE * 100) as PROGRESS_PCT FROM performance_schema.clone_progress
E3|SELECT STAGE, DATA as ORIGINAL_SIZE, NETWORK as COMPRESSED_SIZE, (1 - NETWORK/DATA) * 100 as COMPRESSION_RATIO \
FROM performance_schema.clone_progress
E4|SET GLOBAL clone_ssl_ca = '/path/to/ca.pem'
F1|SELECT ID, STAGE, STATE, BEGIN_TIME, ESTIMATE, DATA, NETWORK, ROUND(DATA/ESTIMATE*100, 2) as PROGRESS_PCT, \
DATA_SPEED, \
NETWORK_SPEED FROM performance_schema.clone_progress
F1|SELECT * FROM performance_schema.clone_status
F3|SELECT BEGIN_TIME, END_TIME, STATE, ERROR_NO, ERROR_MESSAGE, TIMEDIFF(END_TIME, BEGIN_TIME) as DURATION \
FROM performance_schema.clone_status ORDER BY BEGIN_TIME DESC
F4|CLONE INSTANCE STOP
G1|CREATE USER 'clone_donor'@'192.168.1.%' IDENTIFIED BY 'strong_password'
G1|SET GLOBAL clone_valid_donor_list = '192.168.1.100:3306,192.168.1.101:3306'
G2|SELECT ERROR_NO, ERROR_MESSAGE, BINLOG_FILE, BINLOG_POSITION FROM performance_schema.clone_status  WHERE \
STATE = 'Failed'
G5|SELECT BINLOG_FILE, BINLOG_POSITION  FROM performance_schema.clone_status
G5|SHOW MASTER STATUS
F5|FLUSH LOGS
"""
ROWS = {"B1": 1, "B4": 1, "B5": 7, "D4": 7, "E3": 7, "F1": 7, "F3": 3, "G2": 0}


@pytest.fixture(scope="module")
def agent(programs: Programs, tmp_path_factory: pytest.TempPathFactory, donor: Server) -> Iterator[RunningAgent]:
    folder = tmp_path_factory.mktemp("agent")
    config = folder / "agent.toml"
    config.write_text(
        f'[server]\nhost = "127.0.0.1"\nport = {donor.port}\nuser = "{ACCOUNT}"\npassword = "{PASSWORD}"\n'
    )
    with RunningAgent(programs, folder / "state", f"--config={config}") as running:
        running.mysql("UNINSTALL PLUGIN clone")
        yield running


def test_the_guides_statements(agent: RunningAgent, donor: Server, tmp_path: Path) -> None:
    text = STATEMENTS.replace("\\\n", "").format(folder=tmp_path, port=donor.port, account=ACCOUNT, password=PASSWORD)
    for line in text.splitlines():
        row, _, statement = line.partition("|")
        done = agent.mysql(statement)
        print(f"{row}  {statement}\n{done.stdout}{done.stderr}")
        assert done.returncode == 0, done.stderr
        found = len(done.stdout.splitlines()) - 1
        if statement.startswith("SELECT *"):
            assert found == 3
        elif row in ROWS and statement.startswith("SELECT"):
            assert max(found, 0) == ROWS[row]  # without a row there is no heading either


SCRIPT = """\
mysql() {{ {mysql} --no-defaults --socket={socket} --user=root "${{@}}"; }}
for i in 1 2; do
    mysql -e "
    SELECT
        CONCAT(ROUND(DATA/ESTIMATE*100,1),'%') as PROGRESS,
        STAGE, STATE,
        CONCAT(ROUND(DATA_SPEED/1024/1024,1),' MB/s') as SPEED,
        ERROR_MESSAGE
    FROM performance_schema.clone_progress;
    "
    sleep 0.1
done
"""


def test_the_guides_monitoring_loop(agent: RunningAgent, programs: Programs, tmp_path: Path) -> None:
    assert programs.mysql is not None
    assert agent.mysql(f"CLONE LOCAL DATA DIRECTORY = '{tmp_path}/c'").returncode == 0
    script = SCRIPT.format(mysql=" ".join(programs.mysql), socket=agent.socket)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.count("PROGRESS\tSTAGE\tSTATE\tSPEED\tERROR_MESSAGE\n") == 2
    assert done.stdout.count("100.0%\tFILE COPY\tCompleted\t") == 2
