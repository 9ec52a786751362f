"""How long we wait for servers, in seconds, outside of a clone itself (`innoclone.receive.timings`). Each says why.

What only one file waits for, and no server takes part in (a lock, a thread, a look at a flag), stands in that file.
"""

from __future__ import annotations

# What a donor allows.
DONOR_KEEPS_SNAPSHOT = 300.0  # for a lost recipient: clone_donor_timeout_after_network_failure's default, 5 minutes
DONOR_WRITE_TIMEOUT = 60.0  # reads a recipient nothing for so long, it is lost (net_write_timeout's default, the least)

# How long we wait for a donor.
STALL_TIMEOUT = 60.0  # without a byte; a donor that waits for something says so every 5 s (clone plugin)
DATA_BLOCK_WAIT = DONOR_WRITE_TIMEOUT / 3  # the longest pause of a connection that a limit slows down
SNAPSHOT_LABEL_TIMEOUT = 5.0  # of asking a busy server for snapshots of one state before fewer connections are tried
SQL_ANSWER_TIMEOUT = 30.0  # for what any server answers in milliseconds; net_read_timeout's default

# How long we wait for a server on this host.
VALIDATE_CONFIG_TIMEOUT = 30.0  # mysqld --validate-config; it takes under a second
SERVER_APPEARS_TIMEOUT = 60.0  # until a server has opened its files, after the command that starts it
SERVER_KILLED_TIMEOUT = 60.0  # until a killed one has let go of its files; a core file takes a while
SERVER_STEADY_TIME = 1.0  # for which a server must answer before it counts as up: one that just started may fail yet
STOP_COMMAND_GRACE = 10.0  # for a user's command to end by itself once its server is up or down
LOGIN_PROBE_TIMEOUT = 2.0  # for one look whether a server answers; it is repeated

# How long we wait for a replica.
REPLICA_CONNECT_TIMEOUT = 60.0  # until both of its threads run; SOURCE_CONNECT_RETRY's default
REPLICA_STEADY_TIME = 1.0  # for which they must: a source may refuse a receiver that has just begun
