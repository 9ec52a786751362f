"""Jobs on a thread of their own: in order, none lost, none after a failure, no buffer used twice."""

from __future__ import annotations

import random
import threading
import time

import pytest

from innoclone.sinks.writebehind import BUFFERS, WriteBehind

SIZE = 4096


def test_every_job_runs_in_order_with_the_content_of_its_buffer() -> None:
    behind, dice, written = WriteBehind(SIZE, "w"), random.Random(3), []

    def write(view: memoryview) -> None:
        time.sleep(dice.random() / 1000)
        written.append(bytes(view[:4]))

    for number in range(300):
        buffer = behind.buffer()
        buffer[:4] = number.to_bytes(4, "little")
        behind.put(lambda view=buffer: write(view), buffer)
        if number % 7 == 0:
            behind.put(lambda: None)
        if number % 50 == 0:
            behind.drain()
            assert len(written) == number + 1
    behind.drain()
    behind.close()
    assert written == [number.to_bytes(4, "little") for number in range(300)]


def test_after_a_failure_nothing_runs_and_everybody_hears_of_it() -> None:
    behind, ran = WriteBehind(SIZE, "w"), []

    def fail() -> None:
        raise OSError(28, "No space left on device")

    behind.put(lambda: ran.append(1))
    behind.put(fail, behind.buffer())
    behind.put(lambda: ran.append(2))
    for _ in range(2 * BUFFERS):
        with pytest.raises(OSError, match="No space left"):
            behind.drain()
        with pytest.raises(OSError, match="No space left"):
            [behind.buffer() for _ in range(BUFFERS + 1)]
    behind.close()
    assert ran == [1]


def test_closing_forgets_what_was_not_begun_and_waits_for_what_was() -> None:
    behind, begun, go, ran = WriteBehind(SIZE, "w"), threading.Event(), threading.Event(), []
    behind.put(lambda: (begun.set(), go.wait(10), ran.append(1)))  # type: ignore[arg-type, return-value]
    behind.put(lambda: ran.append(2))
    assert begun.wait(10)
    closer = threading.Thread(target=behind.close)
    closer.start()
    closer.join(0.2)
    assert closer.is_alive()
    assert not ran
    go.set()
    closer.join(10)
    assert ran == [1]
    WriteBehind(SIZE, "w").close()  # one that nothing was put into
