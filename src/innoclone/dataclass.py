"""Data classes that cost nothing to define: the standard ones, but for methods that are the same for all.

The standard decorator makes six methods for each class, and compiles each of them from text when the module is loaded:
a quarter of a millisecond a class in Python 3.11, and a clone loads about 90 (`bench/startup`). Here the fields are
still the standard's, so `field`, `fields`, `replace` and `asdict` work; what is made of them goes through a list of
names. Making an object takes twice as long, which is a microsecond.

For the modules that a clone over the network loads; parameters that aren't used are left out. A class of one kind
can't be the base of a frozen one of the other.
"""

from __future__ import annotations

import dataclasses
import operator
import reprlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(
        cls: type | None = None, /, *, frozen: bool = False, kw_only: bool = False, eq: bool = True, slots: bool = False
    ) -> type | Callable[[type], type]:
        """The standard decorator of that name, with those of its parameters that are used."""

        def made(cls: type) -> type:
            return _finished(cls, frozen=frozen, kw_only=kw_only, eq=eq, slots=slots)

        return made if cls is None else made(cls)


def _finished(cls: type, *, frozen: bool, kw_only: bool, eq: bool, slots: bool) -> type:
    # Python puts __hash__ = None beside an __eq__ of the class's own; that isn't meant.
    own = {name for name, value in vars(cls).items() if (name, value) != ("__hash__", None)}
    cls = dataclasses.dataclass(init=False, repr=False, eq=False, kw_only=kw_only, slots=slots)(cls)
    fields = dataclasses.fields(cls)  # it is one now
    compared = [field.name for field in fields if field.compare]
    key = operator.attrgetter(*compared) if compared else lambda _: ()
    methods: dict[str, Any] = {
        "__init__": _initializer(cls, fields, slots=slots),
        "__repr__": _representation(tuple(field.name for field in fields if field.repr)),
    }
    if eq:
        methods["__eq__"] = _equality(key)
        methods["__hash__"] = _hash(key) if frozen else None
    if frozen:
        methods |= {"__setattr__": _refuse_to_set, "__delattr__": _refuse_to_delete}
    if frozen and slots:
        methods |= _copied_by(tuple(field.name for field in fields))
    for name, method in methods.items():
        if name not in own:
            setattr(cls, name, method)
    return cls


def _initializer(cls: type, fields: tuple[dataclasses.Field[Any], ...], *, slots: bool) -> Callable[..., None]:
    ordered = tuple(field.name for field in fields if not field.kw_only)
    names = (*ordered, *(field.name for field in fields if field.kw_only))
    defaults = {field.name: field.default for field in fields if field.default is not dataclasses.MISSING}
    factories = {
        field.name: field.default_factory for field in fields if field.default_factory is not dataclasses.MISSING
    }
    most, finish = len(ordered), getattr(cls, "__post_init__", None)

    def __init__(self: object, /, *args: object, **given: object) -> None:
        values = dict(zip(ordered, args, strict=False))
        if len(args) > most:
            raise TypeError(f"{cls.__name__} takes {most} positional arguments, {len(args)} were given")
        for name in names[len(args) :]:
            if name in given:
                values[name] = given.pop(name)
            elif name in defaults:
                values[name] = defaults[name]
            elif name in factories:
                values[name] = factories[name]()
            else:
                raise TypeError(f"{cls.__name__} misses the argument {name!r}")
        if given:
            raise TypeError(f"{cls.__name__} has no argument {next(iter(given))!r}, or was given it twice")
        if slots:
            for name, value in values.items():
                object.__setattr__(self, name, value)  # past what a frozen class refuses
        else:
            vars(self).update(values)
        if finish is not None:
            self.__post_init__()  # type: ignore[attr-defined]  # that is what `finish` is

    return __init__


def _representation(names: tuple[str, ...]) -> Callable[[object], str]:
    @reprlib.recursive_repr()
    def __repr__(self: object) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__qualname__}({shown})"

    return __repr__


def _equality(key: Callable[[object], object]) -> Callable[[object, object], bool]:
    def __eq__(self: object, other: object) -> bool:
        return key(self) == key(other) if type(other) is type(self) else NotImplemented

    return __eq__


def _hash(key: Callable[[object], object]) -> Callable[[object], int]:
    def __hash__(self: object) -> int:
        return hash(key(self))

    return __hash__


def _copied_by(names: tuple[str, ...]) -> dict[str, Any]:
    """What `copy` and `pickle` call: by themselves they set slots in a way that a frozen class refuses."""

    def __getstate__(self: object) -> list[object]:
        return [getattr(self, name) for name in names]

    def __setstate__(self: object, state: list[object]) -> None:
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    return {"__getstate__": __getstate__, "__setstate__": __setstate__}


def _refuse_to_set(self: object, name: str, value: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: object, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
