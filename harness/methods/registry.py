"""What a method is, and the methods by name.

A file of this folder, or a plug-in, adds a method with one call of :func:`register_method`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

from harness.config import ParameterValue
from harness.errors import UsageError, nearest
from harness.methods.recipe import Recipe
from harness.methods.space import Ranges
from harness.registry import Registry


@dataclass(frozen=True)
class PairShape:
    """Sizes of a training that a recipe may cut its constants to.

    Attributes:
        n_a: images of the first domain after the class split.
        n_b: images of the second.
        batch_size: images per domain and step, after cutting.
    """

    n_a: int
    n_b: int
    batch_size: int

    @property
    def n_min(self) -> int:
        """Images of the smaller domain."""
        return min(self.n_a, self.n_b)


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method: its parameters, its recipe, its presets and its search space.

    Attributes:
        name: as given to ``--method``.
        summary: one line for ``--list methods``.
        parameters: frozen dataclass; its fields are the names ``--set`` takes, with defaults.
        recipe: from parameters and sizes to the recipe.
        presets: for ``paper`` and ``scratch`` a function from the data set's name to the
            parameter values that differ from the defaults.
        space: from the image count of the smallest domain to the ranges that are searched; they
            come from that count alone.
        first: searched values that a search begins with in place of those of the preset
            ``paper``, from the data set's name and that count: a K for data sets that the paper
            does not cover.
        trains: False for a method that only scores the initial weights.
    """

    name: str
    summary: str
    parameters: type[Any]
    recipe: Callable[[Any, PairShape], Recipe]
    presets: Mapping[str, Callable[[str], Mapping[str, ParameterValue]]]
    space: Ranges = lambda n: {}
    first: Callable[[str, int], Mapping[str, ParameterValue]] = lambda dataset, n: {}
    trains: bool = True

    @property
    def defined_by(self) -> Callable[[Any, PairShape], Recipe]:
        """What the registry tells one method from another by."""
        return self.recipe

    def parameter_types(self) -> dict[str, type]:
        """Names and types of the parameters."""
        hints = get_type_hints(self.parameters)
        return {item.name: hints[item.name] for item in fields(self.parameters)}

    def resolve(
        self, preset: str, dataset: str, assigned: Mapping[str, ParameterValue]
    ) -> dict[str, ParameterValue]:
        """All parameter values: assigned before preset before the dataclass's defaults.

        Raises:
            UsageError: a name the method does not have.
        """
        types = self.parameter_types()
        values: dict[str, ParameterValue] = {
            item.name: getattr(self.parameters(), item.name) for item in fields(self.parameters)
        }
        for source in (self.presets[preset](dataset), assigned):
            for name, value in source.items():
                if name not in types:
                    raise UsageError(
                        f"The method '{self.name}' has no parameter '{name}'. "
                        f"{nearest(name, types)}"
                    )
                values[name] = types[name](value)
        return values

    def paper_point(self, dataset: str, n: int) -> dict[str, ParameterValue]:
        """The searched values of the paper, which a search begins with.

        Args:
            dataset: name of the data set.
            n: images of its smallest domain.
        """
        paper = {**self.resolve("paper", dataset, {}), **self.first(dataset, n)}
        return {name: paper[name] for name in self.space(n)}

    def build(self, values: Mapping[str, ParameterValue], shape: PairShape) -> Recipe:
        """The recipe of these parameter values."""
        return self.recipe(self.parameters(**values), shape)


METHODS: Registry[Method] = Registry("method")


def register_method(method: Method) -> Method:
    """Makes a method known under its name.

    Raises:
        UsageError: the name cannot be one, or another method has it.
    """
    return METHODS.add(method.name, method)


def method_names() -> tuple[str, ...]:
    """Registered names, sorted."""
    return tuple(sorted(METHODS))


def get_method(name: str) -> Method:
    """The method of that name.

    Raises:
        UsageError: there is none.
    """
    return METHODS[name]
