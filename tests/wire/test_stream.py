"""The order of what a donor sends (innoclone.wire.stream)."""

from __future__ import annotations

from typing import Any

import pytest

from conversations import Message, executions, read
from innoclone.errors import ProtocolError
from innoclone.wire.descriptors import (
    DescriptorType,
    FileMetadata,
    Locator,
    StageNumber,
    StateDescriptor,
    TaskMetadata,
)
from innoclone.wire.stream import Phase, Stream
from recorder import load


@pytest.fixture(scope="module")
def recorded() -> list[Message]:
    return list(read(load()))


def test_the_stream_table_allows_what_a_donor_does(recorded):
    found = list(executions(recorded))
    assert sorted(master for master, _ in found) == [False, True]
    for master, descriptors in found:
        stream = Stream(master=master)
        for descriptor in descriptors:
            if not (isinstance(descriptor, StateDescriptor) and descriptor.is_keepalive):
                stream.check(descriptor)
        stream.complete()
        assert stream.phase is Phase.COMPLETE


def test_a_stream_that_lacks_a_step_is_refused(recorded):
    """Leave out any one START, END or TASK of the real sequence: what comes next is out of order."""
    for master, descriptors in executions(recorded):
        steps = [number for number, item in enumerate(descriptors) if not isinstance(item, FileMetadata)]
        steps = [number for number in steps if _kind(descriptors[number]) is not DescriptorType.DATA]
        if not master:  # a worker may join at any point, so only what follows its first stage is bound
            steps = [number for number in steps if number > 3]
        for missing in steps:
            stream = Stream(master=master)
            with pytest.raises(ProtocolError):
                _follow(stream, [*descriptors[:missing], *descriptors[missing + 1 :]])


def _follow(stream: Stream, descriptors: list[Any]) -> None:
    for descriptor in descriptors:
        stream.check(descriptor)
    stream.complete()


def _kind(descriptor: Any) -> DescriptorType:
    return DescriptorType(int.from_bytes(descriptor.serialize()[8:12], "big"))


def test_a_locator_has_no_place_in_the_data():
    stream = Stream(master=True)
    stream.check(TaskMetadata(0))
    with pytest.raises(ProtocolError, match="a LOCATOR descriptor in the data stream"):
        stream.check(Locator(1, 2))


@pytest.mark.parametrize("stage", [StageNumber.FILE_COPY, StageNumber.PAGE_COPY, StageNumber.REDO_COPY])
def test_a_resumed_master_goes_on_in_its_stage(recorded, stage):
    """From any stage that the locator of COM_REINIT names: with what follows its START, or already the next one."""
    (descriptors,) = [descriptors for master, descriptors in executions(recorded) if master]
    descriptors = [item for item in descriptors if not (isinstance(item, StateDescriptor) and item.is_keepalive)]
    start, end = (
        number for number, item in enumerate(descriptors) if isinstance(item, StateDescriptor) and item.stage == stage
    )
    for rest in (descriptors[start + 1 :], descriptors[end:], descriptors[end + 1 :]):
        stream = Stream(master=True, resumed=stage)
        _follow(stream, [TaskMetadata(0), *rest])
        assert stream.phase is Phase.COMPLETE
    with pytest.raises(ProtocolError, match="not allowed"):
        _follow(Stream(master=True, resumed=stage), descriptors)
