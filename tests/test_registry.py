"""Names of losses, methods, validators and the like."""

from dataclasses import replace

import pytest

from harness.errors import UsageError
from harness.methods import get_method, register_method
from harness.methods.registry import METHODS
from harness.registry import Registry


def made(text):
    """A function of that result; all of them come from the same place."""
    return lambda: text


def other():
    """A function from another place."""


@pytest.fixture
def kinds():
    registry = Registry("kind")
    registry.add("second", made("b"))
    registry.add("first", other)
    return registry


def test_what_was_registered_comes_back_in_the_order_of_registration(kinds):
    assert kinds.names() == ("second", "first")
    assert sorted(kinds) == ["first", "second"]
    assert kinds["first"] is other
    assert "first" in kinds
    assert "third" not in kinds


def test_an_unknown_name_is_answered_with_the_nearest(kinds):
    with pytest.raises(UsageError, match=r"no kind named 'secnd'\. Did you mean 'second'\?"):
        kinds["secnd"]
    with pytest.raises(UsageError, match=r"Known: first, second\."):
        kinds["xyz"]


def test_a_taken_name_is_refused_but_to_the_same_thing_read_again(kinds):
    with pytest.raises(UsageError, match=r"The kind name 'first' is taken by test_registry\."):
        kinds.add("first", made("c"))
    again = made("d")
    assert kinds.add("second", again) is kinds["second"] is again


@pytest.mark.parametrize("name", ["a.b", "", "a b", "-a", "ä", "a/b", "a:b"])
def test_a_name_that_could_not_be_part_of_an_id_is_refused_where_it_is_registered(kinds, name):
    with pytest.raises(UsageError, match="takes letters, digits, _ and -"):
        kinds.add(name, other)
    with pytest.raises(UsageError, match="The method name"):
        register_method(replace(get_method("cds"), name=name))


@pytest.mark.parametrize("name", ["a", "A-b_3", "3d"])
def test_plain_names_are_taken(name):
    with METHODS.restored_afterwards():
        register_method(replace(get_method("cds"), name=name))
        assert get_method(name).name == name
    assert name not in METHODS


def test_what_the_project_brings_is_told_from_what_a_plug_in_does(kinds):
    assert kinds.built_in() == ()
    with METHODS.restored_afterwards():
        register_method(replace(get_method("cds"), name="mine", recipe=made("x")))
        assert "mine" not in METHODS.built_in()
        assert "cds" in METHODS.built_in()
