"""Converters: the most specific class wins, and what is missing is named."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dagger.abstract import ConverterRegistry, DatumList, InputForm, converter_registry


def test_the_most_specific_class_wins(toys: SimpleNamespace) -> None:
    """A subclass has its base's converter until it has its own, whatever was asked before."""

    class Sub(toys.Box):  # type: ignore[misc, name-defined]
        pass

    class Leaf(Sub):
        pass

    registry = ConverterRegistry()
    assert not registry.has_converter(Leaf, InputForm.OBJECT)
    registry.register(toys.Box, InputForm.OBJECT, lambda box: ("box", box.pointer))
    assert registry.convert(Leaf(pointer=1), InputForm.OBJECT) == ("box", 1)
    registry.register(Sub, InputForm.OBJECT, lambda box: ("sub", box.pointer))
    assert registry.convert(Leaf(pointer=1), InputForm.OBJECT) == ("sub", 1)
    assert registry.convert(toys.Box(pointer=1), InputForm.OBJECT) == ("box", 1)
    registry.register(Sub, InputForm.OBJECT, lambda box: ("again", box.pointer))
    assert registry.convert(Leaf(pointer=1), InputForm.OBJECT) == ("again", 1)
    assert not registry.has_converter(Leaf, InputForm.FILEPATH)


def test_a_missing_converter_is_named(toys: SimpleNamespace) -> None:
    """The message names type and form and says what to do."""
    with pytest.raises(TypeError) as caught:
        ConverterRegistry().convert(toys.Box(), InputForm.FILEPATH)
    assert str(caught.value) == (
        "No converter registered for Box -> InputForm.FILEPATH; register one with converter_registry.register(...)"
    )


@pytest.mark.parametrize(
    "wrong",
    [(int, InputForm.OBJECT, str), (DatumList, "object", str), (DatumList, InputForm.OBJECT, 1)],
)
def test_a_wrong_registration_is_refused(wrong: Any) -> None:
    """A registration that could never be used is refused when it is made."""
    with pytest.raises(TypeError, match="register: "):
        ConverterRegistry().register(*wrong)


def test_custom_ones_can_be_told(toys: SimpleNamespace) -> None:
    """Workers get the converters that importing dagger does not give them, and no other."""
    custom = converter_registry.custom()
    assert [(cls, form) for cls, form, fn in custom if cls is toys.Box] == [(toys.Box, InputForm.OBJECT)]
    assert not [cls for cls, _, _ in custom if cls is DatumList]
