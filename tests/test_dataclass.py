"""Our data classes do what the standard ones do (innoclone.dataclass)."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from dataclasses import field
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innoclone import dataclass as ours

KINDS = [pytest.param(dataclasses.dataclass, id="standard"), pytest.param(ours.dataclass, id="ours")]


@ours.dataclass(frozen=True)
class Plain:
    one: int
    two: str = "2"


@ours.dataclass(frozen=True, slots=True)
class Slotted:
    one: int
    two: str = "2"


def make(dataclass, **options):
    """A class with what ours have: a constant, defaults, a factory, a secret, and a look at the values."""

    @dataclass(**options)
    class Base:
        one: int
        two: str = "2"
        three: list[int] = field(default_factory=list)
        secret: str = field(default="hidden", repr=False)
        seen: int = field(default=0, compare=False)

        CONSTANT: ClassVar[int] = 7

        def __post_init__(self) -> None:
            if self.one < 0:
                raise ValueError("negative")

    return Base


ARGUMENTS = st.lists(st.integers(-1, 2), max_size=6)
NAMED = st.dictionaries(st.sampled_from(["one", "two", "three", "secret", "seen", "other"]), st.integers(-1, 2))
FROZEN = [make(kind.values[0], frozen=True) for kind in KINDS]


def outcome(cls, args, given):
    """What making an object gives, or the kind of error."""
    try:
        made = cls(*args, **given)
    except (TypeError, ValueError) as error:
        return type(error)
    return vars(made), repr(made).rsplit(".", 1)[-1], dataclasses.asdict(made)


@given(ARGUMENTS, NAMED)
def test_both_make_the_same_of_any_arguments(args, named):
    standard, our = FROZEN
    assert outcome(our, args, named) == outcome(standard, args, named)


@given(ARGUMENTS, NAMED, ARGUMENTS, NAMED)
def test_both_find_the_same_equal(first, named, second, names):
    found = []
    for cls in FROZEN:
        try:
            one, other = cls(*first, **named), cls(*second, **names)
        except (TypeError, ValueError):
            found.append(None)
            continue
        found.append((one == other, one != other))
    assert found[0] == found[1]


@pytest.mark.parametrize("dataclass", KINDS)
def test_a_frozen_one(dataclass):
    cls = make(dataclass, frozen=True)
    made = cls(1, three=(1, 2))
    for attempt in (lambda: setattr(made, "one", 2), lambda: setattr(made, "new", 2), lambda: delattr(made, "one")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            attempt()
    assert made == cls(1, three=(1, 2), seen=5)
    assert hash(made) == hash(cls(1, three=(1, 2), seen=5))
    assert made != cls(1)
    assert made != make(dataclass, frozen=True)(1, three=(1, 2))  # of another class
    assert dataclasses.replace(made, two="3") == cls(1, "3", (1, 2))
    assert "hidden" not in repr(made)
    assert cls.two == "2"
    assert [each.name for each in dataclasses.fields(cls)] == ["one", "two", "three", "secret", "seen"]
    assert copy.deepcopy(made) == made


@pytest.mark.parametrize("dataclass", KINDS)
def test_one_that_may_be_changed(dataclass):
    cls = make(dataclass)
    made, other = cls(1), cls(1)
    made.three.append(1)
    assert other.three == []
    other.three = [1]
    assert made == other
    with pytest.raises(TypeError, match="unhashable"):
        hash(made)


@pytest.mark.parametrize("dataclass", KINDS)
def test_one_by_identity(dataclass):
    cls = make(dataclass, eq=False)
    assert cls(1) != cls(1)
    hash(cls(1))


@pytest.mark.parametrize("dataclass", KINDS)
def test_names_only(dataclass):
    cls = make(dataclass, frozen=True, kw_only=True)
    assert cls(one=1).two == "2"
    with pytest.raises(TypeError):
        cls(1)


@pytest.mark.parametrize("dataclass", KINDS)
def test_slots(dataclass):
    @dataclass(frozen=True, slots=True)
    class Slotted:
        one: int
        two: int = 2

    assert not hasattr(Slotted(1), "__dict__")
    assert Slotted(1) == Slotted(1, 2)
    assert hash(Slotted(1)) == hash(Slotted(1, 2))
    with pytest.raises(dataclasses.FrozenInstanceError):
        Slotted(1).one = 2


@pytest.mark.parametrize("dataclass", KINDS)
def test_what_a_class_has_of_its_own_stays(dataclass):
    @dataclass(frozen=True)
    class Own:
        one: int

        def __eq__(self, other: object) -> bool:
            return True

        def __repr__(self) -> str:
            return "own"

    assert Own(1) == 7
    assert repr(Own(1)) == "own"
    assert hash(Own(1)) == hash(Own(1))


@pytest.mark.parametrize("dataclass", KINDS)
def test_inherited_fields(dataclass):
    base = make(dataclass, frozen=True)

    @dataclass(frozen=True)
    class More(base):
        four: int = field(default=4, kw_only=True)

    made = More(1, four=5)
    assert (made.one, made.four) == (1, 5)
    assert made != base(1)
    assert [each.name for each in dataclasses.fields(More)][-1] == "four"
    with pytest.raises(ValueError, match="negative"):
        More(-1)


@pytest.mark.parametrize("kind", [Plain, Slotted])
def test_pickled_and_copied(kind):
    assert pickle.loads(pickle.dumps(kind(1))) == kind(1)  # noqa: S301
    assert copy.copy(kind(1, "x")) == copy.deepcopy(kind(1, "x")) == kind(1, "x")
