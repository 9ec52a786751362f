"""The one place that says what a session is like, whatever the server's global variables and its init_connect say.

Every SQL connection of ours sets all that its answers depend on, in one statement. Version comments (``/*!80026``) keep
variables from servers that are older than they are. Where a server refuses the statement all the same, the
variables are set one by one, without those that it doesn't know or that the account may not set.

Not here: ``lower_case_table_names`` and the like, which belong to the server; and what a session can't set,
``max_allowed_packet`` (looked at in preflight) and ``connection_memory_limit``. What only makes an answer slower
(buffers, temporary tables) is left as the DBA set it.
"""

from __future__ import annotations

__all__ = ["OWN_SERVER", "READING", "UNSETTABLE", "statement"]

DAY = 86400  # seconds

# Texts have an introducer: the whole statement is read in the character set that was there before it.
READING = (
    "NAMES utf8mb4 COLLATE utf8mb4_0900_ai_ci",
    # What is cut off, left out, or refused.
    "sql_select_limit=18446744073709551615",
    "max_join_size=18446744073709551615",
    "sql_big_selects=1",  # after max_join_size, which switches it off
    "sql_safe_updates=0",
    "group_concat_max_len=1048576",
    "max_sort_length=1024",
    "sort_buffer_size=262144",
    "max_execution_time=0",
    # How statements and values read.
    "sql_mode=0",
    "sql_auto_is_null=0",
    "time_zone=_utf8mb4'+00:00'",
    "timestamp=DEFAULT",
    "div_precision_increment=4",
    "lc_messages=en_US",
    "lc_time_names=en_US",
    "sql_quote_show_create=1",
    "/*!80018 show_create_table_skip_secondary_engine=0*/",
    "show_create_table_verbosity=0",
    "/*!80030 show_gipk_in_create_table_and_information_schema=1*/",
    "/*!80026 terminology_use_previous=NONE*/",
    "information_schema_stats_expiry=0",  # ask the engine: a server writes what it caches into mysql.table_stats
    # Which rows are read, and from where.
    "autocommit=1",
    "completion_type=0",
    "transaction_isolation=2",  # REPEATABLE-READ
    "transaction_read_only=0",
    "use_secondary_engine=OFF",
    "optimizer_switch=_utf8mb4'default'",
    "/*!80014 group_replication_consistency=EVENTUAL*/",
    # How long the server waits for us, and for others.
    f"wait_timeout={DAY}",
    "net_read_timeout=60",
    "net_write_timeout=3600",
    "lock_wait_timeout=31536000",
)
"""What goes into SET SESSION on every server that is asked something."""

OWN_SERVER = (
    *READING,
    "sql_mode=_utf8mb4'ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,"
    "NO_ENGINE_SUBSTITUTION'",
    "default_storage_engine=InnoDB",
    "default_tmp_storage_engine=InnoDB",
    "default_table_encryption=0",
    "foreign_key_checks=1",
    "unique_checks=1",
    "cte_max_recursion_depth=1000",
    "innodb_lock_wait_timeout=50",
    "/*!80013 sql_require_primary_key=0*/",
    "/*!80030 sql_generate_invisible_primary_key=0*/",
)
"""The same for servers that we started, where tables are made and filled; it takes an administrator."""

# Unknown variable, wrong value, read only, not of a session, no privilege, unknown character set or collation, syntax.
UNSETTABLE = frozenset((1193, 1227, 1228, 1229, 1231, 1232, 1235, 1238, 1115, 1273, 1064, 1621))


def statement(settings: tuple[str, ...]) -> str:
    """One statement that sets them all; the first must be for every version."""
    first, *others = settings
    # Inside a version comment the comma belongs to what may be left out.
    return f"SET {first}" + "".join(
        item.replace(" ", " ,", 1) if item.startswith("/*") else f",{item}" for item in others
    )
