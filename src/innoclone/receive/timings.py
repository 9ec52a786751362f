"""How long recipient and donor wait for each other within a clone: each time once, in seconds.

What servers take in general, and allow, is in `innoclone.transport.timings`. Most of these answer to something that a
donor does; what that is stands beside them. They are looked up when they are needed (``timings.NAME``).
"""

from __future__ import annotations

# ---- answers of the donor ----------------------------------------------------------------------------------------

INIT_GRACE = 300.0
"""What COM_INIT may take beyond the DDL timeout, as in a stock recipient."""
BUSY_DONOR = 35.0
"""How long a donor is asked again that is busy with another clone. It notices a killed recipient late, after COM_REINIT
in up to 30 seconds."""
CONNECTION_LIMIT = (0.1, 0.3, 0.6)
"""Waits after a connection was refused because the account has too many: a server counts ours a moment longer."""
REINIT = 60.0
"""For the answer to COM_REINIT: the donor takes up to 30 to notice that the old connection is gone."""
EXIT = 5.0
"""For the answer to COM_EXIT."""
EXIT_UNANSWERED = 0.2
"""The same, once one connection was left without an answer."""
GOODBYE = 0.5
"""For telling the donor about a failure."""
SAME_START = 1
"""By so much two looks at the donor's start may differ: its uptime is in whole seconds."""

# ---- what the donor waits for ------------------------------------------------------------------------------------

IDLE_INTERVAL = 5.0
"""How often a connection that is held back reads a little, well within `DONOR_WRITE_TIMEOUT`."""
STARVED = 25.0
"""A compressed connection that got too little off the wire for so long goes on without a pause, for the same reason."""
RENEW = 600.0
"""Of copying on the donor's host, after which COM_REINIT begins its waiting anew. It waits for an acknowledgement for
30 minutes at most."""

# ---- among ourselves ---------------------------------------------------------------------------------------------

LET_IN = 2.0
"""For the answer to COM_ATTACH, once the clone is over."""
STAGE_END = 1800.0
"""Until all connections are where one waits for them; a stock recipient waits as long for its own tasks."""
POLL = 0.1
"""Between looks for a wish to stop."""
COPY_POLL = 0.2
"""Between looks at the donor's connection while files are copied on its host."""
ARRIVAL = 15.0
"""For connections that are wanted to come, before the search for their number goes on without them."""
LAST_WORDS = 2.0
"""For a thread to end once its connection is shut."""
COUNTING = 0.5
"""Between notes of how many bytes were moved."""
CHECKPOINT = 5.0
"""Between checkpoints: what a crash of the system may cost."""
