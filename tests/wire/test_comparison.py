"""What innoclones say to each other about pages that differ: written and read back, cut short, and out of bounds."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innoclone.errors import ProtocolError
from innoclone.wire.comparison import (
    BLOCK,
    HASH,
    KEY,
    MOST_BLOCKS,
    Code,
    Compare,
    Comparison,
    Different,
    Fetch,
    Gone,
    Join,
    Layout,
    PagesHead,
    bits,
    parse_comparison,
)
from innoclone.wire.descriptors import Locator, StageNumber

U32 = st.integers(0, 0xFFFFFFFF)
JOIN = Join(bytes(range(KEY)), Locator(5, 6, 0, StageNumber.FILE_COPY))
commands: st.SearchStrategy[Comparison] = st.one_of(
    st.builds(Join, st.binary(min_size=KEY, max_size=KEY), st.just(JOIN.locator)),
    st.builds(
        Compare,
        U32,
        U32,
        st.integers(1, MOST_BLOCKS).flatmap(lambda n: st.binary(min_size=n * HASH, max_size=n * HASH)),
    ),
    st.builds(Fetch, U32, U32, st.binary(max_size=128)),
)


@given(commands)
def test_commands_are_read_as_they_were_written(command: Comparison) -> None:
    assert parse_comparison(command.serialize()) == command


@pytest.mark.parametrize("command", [JOIN, Compare(1, 2, bytes(3 * HASH))])
def test_cut_commands_are_refused(command: Comparison) -> None:
    whole = command.serialize()
    for end in range(1, len(whole)):
        with pytest.raises(ProtocolError):
            parse_comparison(whole[:end])
    with pytest.raises(ProtocolError):
        parse_comparison(whole + b"x")


@pytest.mark.parametrize("count", [0, MOST_BLOCKS + 1])
def test_too_many_blocks_are_not_compared(count: int) -> None:
    with pytest.raises(ProtocolError, match=f"a comparison of {count} blocks"):
        parse_comparison(Compare(0, 0, bytes(count * HASH)).serialize())


def test_another_version_or_engine_is_refused() -> None:
    whole = JOIN.serialize()
    with pytest.raises(ProtocolError, match="version 1"):
        parse_comparison(whole[:1] + b"\x01" + whole[2:])
    with pytest.raises(ProtocolError, match="storage engine 9"):
        parse_comparison(whole[: 2 + KEY] + b"\x09" + whole[3 + KEY :])


def test_answers_about_blocks() -> None:
    pages = [64, 64, 3]
    answer = Different(((0, bytes(64 * HASH)), (2, b"h" * 3 * HASH)))
    whole = answer.serialize()
    assert Different.parse(whole, pages) == answer
    assert Different.parse(Different(()).serialize(), pages) == Different(())
    for end in range(len(whole)):
        with pytest.raises(ProtocolError):
            Different.parse(whole[:end], pages)
    refused: list[Callable[[], object]] = [
        lambda: Different.parse(whole + b"x", pages),
        lambda: Different.parse(whole, pages[:2]),  # about a block that was not asked for
        lambda: Different.parse(PagesHead(b"").serialize() + whole[1:], pages),
        lambda: Different.parse(Gone().serialize() + b"x", pages),
    ]
    for parse in refused:
        with pytest.raises(ProtocolError):
            parse()
    assert Different.parse(Gone().serialize(), pages) == Gone()
    assert PagesHead(b"ab").serialize() == bytes([Code.FETCH]) + b"ab"


@given(st.integers(0, (1 << 70) - 1))
def test_bits(bitmap: int) -> None:
    assert sum(1 << number for number in bits(bitmap)) == bitmap


@given(st.integers(1, 5 * BLOCK), st.sampled_from([1024, 4096, 16384, 65536]), st.data())
def test_a_file_is_cut_without_a_rest(size: int, page: int, data: st.DataObject) -> None:
    layout = Layout(size, page)
    assert sum(layout.length(block) for block in range(layout.blocks)) == size
    block = data.draw(st.integers(0, layout.blocks - 1))
    pages = layout.pages(block)
    assert layout.bitmap_size(block) == (pages + 7) // 8
    bitmap = data.draw(st.integers(0, (1 << pages) - 1))
    spans = list(layout.spans(block, bitmap))
    covered = {at // page for begin, end in spans for at in range(begin, end, page)}
    assert covered == set(bits(bitmap))
    assert all(before[1] < after[0] for before, after in pairwise(spans))
    assert layout.amount(block, (1 << pages) - 1) == layout.length(block)
