"""What tools ask for and the agent has nothing of: tables without rows, and SHOWs of replication and binary logs.

An agent is no replica, writes no binary log, has no storage engine and instruments no waits. The columns are in
``empties.txt``, a table a line, as a 9.7 server's information_schema.columns has them.
"""

from __future__ import annotations

import functools
from importlib import resources

from innoclone.agent.sql import Column, varchar
from innoclone.agent.tables.information import Source, columns_of

__all__ = ["empty_shows", "empty_tables"]

_REPLICA = (
    "Replica_IO_State Source_Host Source_User Source_Port Connect_Retry Source_Log_File Read_Source_Log_Pos"
    " Relay_Log_File Relay_Log_Pos Relay_Source_Log_File Replica_IO_Running Replica_SQL_Running Replicate_Do_DB"
    " Replicate_Ignore_DB Replicate_Do_Table Replicate_Ignore_Table Replicate_Wild_Do_Table Replicate_Wild_Ignore_Table"
    " Last_Errno Last_Error Skip_Counter Exec_Source_Log_Pos Relay_Log_Space Until_Condition Until_Log_File"
    " Until_Log_Pos Source_SSL_Allowed Source_SSL_CA_File Source_SSL_CA_Path Source_SSL_Cert Source_SSL_Cipher"
    " Source_SSL_Key Seconds_Behind_Source Source_SSL_Verify_Server_Cert Last_IO_Errno Last_IO_Error Last_SQL_Errno"
    " Last_SQL_Error Replicate_Ignore_Server_Ids Source_Server_Id Source_UUID Source_Info_File SQL_Delay"
    " SQL_Remaining_Delay Replica_SQL_Running_State Source_Retry_Count Source_Bind Last_IO_Error_Timestamp"
    " Last_SQL_Error_Timestamp Source_SSL_Crl Source_SSL_Crlpath Retrieved_Gtid_Set Executed_Gtid_Set Auto_Position"
    " Replicate_Rewrite_DB Channel_Name Source_TLS_Version Source_public_key_path Get_Source_public_key"
    " Network_Namespace"
)
_SHOWS = {
    "REPLICA STATUS": _REPLICA,
    "SLAVE STATUS": _REPLICA.replace("Replica_", "Slave_").replace("Source", "Master"),  # until 8.3
    "BINARY LOGS": "Log_name File_size Encrypted",
    "REPLICAS": "Server_Id Host Port Source_Id Replica_UUID",
    "SLAVE HOSTS": "Server_id Host Port Master_id Slave_UUID",
}


def empty_shows() -> dict[str, list[Column]]:
    """The columns of a SHOW that has no rows."""
    return {what: [Column(name, varchar(255)) for name in names.split()] for what, names in _SHOWS.items()}


@functools.cache
def empty_tables() -> dict[tuple[str, str], Source]:
    """By schema and name, in lower case."""
    text = resources.files(__package__).joinpath("empties.txt").read_text()
    found: dict[tuple[str, str], Source] = {}
    for line in text.splitlines():
        name, _, specification = line.partition(": ")
        schema, _, table = name.lower().partition(".")
        found[schema, table] = columns_of(specification), list
    return found
