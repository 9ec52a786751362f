"""innoclone without its journal, for the row that shows what the journal costs: ``python -m bench.unjournaled``."""

from __future__ import annotations

import sys
from typing import Any

from innoclone.cli.app import run
from innoclone.commands import clone
from innoclone.receive.recipient import Recipient


class _WithoutJournal(Recipient):
    def __init__(self, *arguments: Any, facts: object, **named: Any) -> None:
        super().__init__(*arguments, **named)


vars(clone)["Recipient"] = _WithoutJournal
sys.exit(run(sys.argv[1:]))
