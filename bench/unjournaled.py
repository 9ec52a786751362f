"""innoclone without its journal, for the row that shows what the journal costs: ``python -m bench.unjournaled``."""

from __future__ import annotations

import functools
import sys
from typing import Any

from innoclone.cli.app import run
from innoclone.commands import clone
from innoclone.receive.recipient import Received, receive


@functools.wraps(receive)
def _without_journal(*arguments: Any, facts: object, **named: Any) -> Received:
    return receive(*arguments, **named)


vars(clone)["receive"] = _without_journal
sys.exit(run(sys.argv[1:]))
