"""Let a command take groups of options: dataclasses whose fields are annotated with typer.Option or typer.Argument.

Typer reads a command's parameters from the signature of its function. `spread_groups` gives the function a signature in
which each field of a group is a parameter, and builds the groups from the parsed values before the command runs.
"""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args, get_origin, get_type_hints

from typer.models import OptionInfo

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Function = Callable[..., None]


class Without:
    """Leave options of a group out of a command: `Annotated[ModelChoice, Without("dtype")]`.

    A field that is left out keeps its default.
    """

    def __init__(self, *names: str) -> None:
        self.names = frozenset(names)


@dataclass(frozen=True)
class _Group:
    """A parameter that is a group: its dataclass, and the names of the fields that the command takes."""

    kind: "type[DataclassInstance]"
    names: tuple[str, ...]

    @classmethod
    def of(cls, hint: object) -> "_Group | None":
        """Read the annotation of a parameter; None if it is not a dataclass.

        Raises:
            TypeError: `Without` names a field that the dataclass does not have.
        """
        kind, *notes = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        if not (isinstance(kind, type) and is_dataclass(kind)):
            return None
        names = [f.name for f in fields(kind)]
        left_out = {name for note in notes if isinstance(note, Without) for name in note.names}
        if left_out - set(names):
            raise TypeError(f"{kind.__name__} has no {', '.join(sorted(left_out - set(names)))}")
        return cls(kind, tuple(n for n in names if n not in left_out))

    def parameters(self) -> Iterator[inspect.Parameter]:
        """List the fields as keyword parameters with their annotations and defaults."""
        hints = get_type_hints(self.kind, include_extras=True)
        defaults = {f.name: inspect.Parameter.empty if f.default is MISSING else f.default for f in fields(self.kind)}
        for name in self.names:
            yield inspect.Parameter(name, _KEYWORD, default=defaults[name], annotation=hints[name])


_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def option_words(group: "DataclassInstance") -> Iterator[str]:
    """Yield the options of a group as they are typed; those that keep their default are left out."""
    hints = get_type_hints(type(group), include_extras=True)
    for field in fields(group):
        value = getattr(group, field.name)
        option = next((a for a in get_args(hints[field.name]) if isinstance(a, OptionInfo)), None)
        if option is None or value == field.default:
            continue
        declared = (option.default, *(option.param_decls or ()))  # in an annotation the first name is the default
        name = next(str(d) for d in declared if str(d).startswith("--"))
        if isinstance(value, bool):
            yield name.split("/")[0 if value else -1]
        else:
            yield from (f"{name}={_text(v)}" for v in (value if isinstance(value, list) else [value]))


def _text(value: object) -> str:
    """Return a value as it is typed in any folder; - is no file."""
    return str(value.expanduser().absolute()) if isinstance(value, Path) and str(value) != "-" else str(value)


def spread_groups(function: Function) -> Function:
    """Return a command's function in the form that Typer reads, with one keyword parameter per option.

    The order of the parameters, and of the fields in each group, is the order in which `--help` lists the options.
    """
    hints = get_type_hints(function, include_extras=True)
    groups = {name: group for name, hint in hints.items() if (group := _Group.of(hint)) is not None}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(function).parameters.items():
        plain = parameter.replace(kind=_KEYWORD, annotation=hints[name])
        parameters += groups[name].parameters() if name in groups else [plain]

    @functools.wraps(function)
    def run(**values: object) -> None:
        for name, group in groups.items():
            values[name] = group.kind(**{n: values.pop(n) for n in group.names})
        function(**values)

    return with_parameters(run, parameters)


def with_parameters(function: Function, parameters: Sequence[inspect.Parameter]) -> Function:
    """Declare the parameters of a function that takes any keyword arguments."""
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # inspect.signature reads it
    function.__annotations__ = {p.name: p.annotation for p in parameters}
    return function
