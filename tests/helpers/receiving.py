"""A recipient without its preflight, with defaults for everything: for tests that speak the clone protocol only."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from innoclone.receive.recipient import Received, Recipient
from innoclone.receive.transfer import Controls, Transfer
from innoclone.sinks.directory import Target
from innoclone.stream.sink import Sink
from innoclone.transport.endpoint import Endpoint

TRANSFER = Transfer(threads=2, ddl_timeout=60, stall_timeout=30.0)
CONTROLS = {field.name for field in dataclasses.fields(Controls)}


def receive_into(target: Sink | Path, donor: Endpoint, **changes: Any) -> Received:
    """A clone into a directory, which is left unbootable; ``changes`` are fields of `Transfer` and `Controls`."""
    sink: Sink = Target(target, fsync=False) if isinstance(target, Path) else target
    controls = Controls(**{name: changes.pop(name) for name in CONTROLS & changes.keys()})
    try:
        return Recipient(donor, sink, dataclasses.replace(TRANSFER, **changes), controls).run()
    finally:
        if isinstance(sink, Target) and sink is not target:
            sink.release()
