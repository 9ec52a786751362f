"""Fills the generated blocks of docs/protocol.md: ``python docs/make_diagrams.py``; tests/project/test_docs.py checks
them.

The state diagrams come from the table that the program itself obeys (`innoclone.wire.stream`), the example from the
conversation with a stock donor that the tests replay (tests/recorded/conversation.txt).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from innoclone.wire.descriptors import DataDescriptor, Descriptor, FileFlag, FileMetadata, StageNumber, StateDescriptor
from innoclone.wire.rpc import COM_CLONE, Ack, CommandCode, DataDescription, ResponseCode, parse_command, parse_response
from innoclone.wire.stream import MASTER, WORKER, Event, Phase

DOCS = Path(__file__).parent
PAGE = DOCS / "protocol.md"
RECORDED = DOCS.parent / "tests" / "recorded" / "conversation.txt"
BLOCK = re.compile(r"(<!-- diagram: (?P<name>[a-z]+) -->\n).*?(<!-- end -->)", re.DOTALL)
COM_QUIT = b"\x01"  # of the classic protocol: a COM_INIT has the same first byte and a payload
WHO = {0: "master", 1: "auxiliary", 2: "worker"}  # in the order in which the recorded clone connected


def refresh(page: str) -> str:
    """``page`` with all its blocks made anew. Raises KeyError for a block that nothing can fill."""
    return BLOCK.sub(lambda found: f"{found[1]}{_BLOCKS[found['name']]()}\n{found[3]}", page)


def _diagram(moves: dict[tuple[Phase, Event, StageNumber], Phase]) -> str:
    """A mermaid state diagram; moves between the same two phases share an arrow."""
    labels: dict[tuple[Phase, Phase], list[str]] = {}
    for (before, event, stage), after in moves.items():
        labels.setdefault((before, after), []).append(_label(before, event, stage))
    order = {phase: number for number, phase in enumerate(Phase)}
    arrows = sorted(labels, key=lambda pair: (order[pair[0]], order[pair[1]]))
    phases = sorted({phase for pair in arrows for phase in pair}, key=order.__getitem__)
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f'    state "{phase.value}" as {phase.name}' for phase in phases]
    lines.append(f"    [*] --> {Phase.OPENED.name}")
    for before, after in arrows:
        lines.append(f"    {before.name} --> {after.name}: {', '.join(dict.fromkeys(labels[before, after]))}")
    lines += [f"    {Phase.COMPLETE.name} --> [*]", "```"]
    return "\n".join(lines)


def _label(before: Phase, event: Event, stage: StageNumber) -> str:
    """The stage is named where it isn't the one that the connection is in."""
    name = event.value.removeprefix("STATE ")
    return name if stage is StageNumber.NONE or before.value == stage.name else f"{name} of {stage.name}"


def _conversation() -> str:
    """What each connection said in clone mode, runs of the same thing in one line."""
    lines = ["```"]
    for (connection, arrow, words), run in itertools.groupby(_messages()):
        count = len(list(run))
        lines.append(f"{WHO[connection]:<9} {arrow} {words}{f' x {count}' if count > 1 else ''}")
    return "\n".join([*lines, "```"])


def _messages() -> Iterator[tuple[int, str, str]]:
    """Connection, direction and meaning of each message, from COM_CLONE on."""
    state: dict[int, str] = {}
    for line in RECORDED.read_text().splitlines():
        if line.startswith("#"):
            continue
        number, arrow, text, *_ = line.split()
        connection, payload = int(number), bytes.fromhex(text)
        if payload == bytes([COM_CLONE]) and arrow == ">":
            state[connection] = "asked"
            yield connection, arrow, "COM_CLONE"
        elif state.get(connection) == "asked":
            state[connection] = "clone mode"
            yield connection, arrow, "OK"
        elif connection in state:
            yield connection, arrow, _command(payload) if arrow == ">" else _response(payload)


def _command(payload: bytes) -> str:
    if payload == COM_QUIT:
        return "COM_QUIT"
    command = parse_command(payload)
    name = f"COM_{CommandCode(payload[0]).name}"
    return f"{name} ({command.state.stage.name})" if isinstance(command, Ack) and command.state else name


def _response(payload: bytes) -> str:
    code = ResponseCode(payload[0])
    if code is ResponseCode.DATA:
        return code.name
    response = parse_response(payload)
    return f"DATA_DESC: {_descriptor(response.descriptor)}" if isinstance(response, DataDescription) else code.name


def _descriptor(descriptor: Descriptor) -> str:
    if isinstance(descriptor, StateDescriptor):
        return f"STATE {descriptor.stage.name} {'START' if descriptor.is_start else 'END'}"
    if isinstance(descriptor, FileMetadata):
        flags = "".join(f" {flag.name}" for flag in FileFlag if flag in descriptor.flags)
        return f"FILE_METADATA for {descriptor.stage.name}{flags}"
    if isinstance(descriptor, DataDescriptor):
        return f"DATA of {descriptor.stage.name}"
    return "TASK_METADATA"


_BLOCKS: dict[str, Callable[[], str]] = {
    "master": lambda: _diagram(MASTER),
    "worker": lambda: _diagram(WORKER),
    "recorded": _conversation,
}

if __name__ == "__main__":
    PAGE.write_text(refresh(PAGE.read_text()))
