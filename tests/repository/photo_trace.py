"""Trace how one captioned photo passes through the code; test_structure.py says how to print the figures."""

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import CO_GENERATOR
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from tests.repository.structure import ROOT, TOPS, module_of


@dataclass
class Trace:
    """What ran, on all threads.

    modules: calls by module of ours. hops: calls of a function from another module of ours, by both modules: the caller
    is the nearest function of ours on the stack, so a call through a library counts, and through our own module's
    lambda or comprehension, too. calls: by module and qualified name.

    A generator counts when it starts, not each time it goes on. What runs while a module is imported does not count.
    """

    modules: Counter[str] = field(default_factory=Counter)
    hops: Counter[tuple[str, str]] = field(default_factory=Counter)
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)

    def calls_of(self, *places: str) -> int:
        """How often a function was called that is at one of these places: `module:qualified name`.

        Raises:
            LookupError: there is no such function at any of these places any more.
        """
        there = [tuple(p.split(":")) for p in places if is_defined(p)]
        if not there:
            raise LookupError(f"none of these functions exists any more: {', '.join(places)}")
        return sum(self.calls[place] for place in there)

    def __str__(self) -> str:
        """The figures, and where most hops are."""
        edges = [f"  {n:4} {a} -> {b}" for (a, b), n in self.hops.most_common(40)]
        return "\n".join([f"{len(self.modules)} modules, {self.hops.total()} hops", *edges])


def is_defined(place: str) -> bool:
    """Whether there is a function at `module:qualified name`."""
    import importlib

    module, _, name = place.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        return False
    return getattr(getattr(found, "__func__", found), "__module__", "") == module


@contextmanager
def traced() -> Iterator[Trace]:
    """Trace what runs meanwhile, on this thread and on those that it starts."""
    trace = Trace()
    profile = _profiler(trace)
    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        yield trace
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def _profiler(trace: Trace) -> Callable[[FrameType, str, Any], None]:
    owners: dict[str, str | None] = {}

    def owner(code: CodeType) -> str | None:
        if code.co_filename not in owners:
            owners[code.co_filename] = _module(code.co_filename)
        return owners[code.co_filename]

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event != "call" or (module := owner(frame.f_code)) is None:
            return
        if _goes_on(frame) or _is_importing(frame):
            return
        trace.modules[module] += 1
        trace.calls[module, frame.f_code.co_qualname] += 1
        back = frame.f_back
        while back is not None and owner(back.f_code) is None:
            back = back.f_back
        caller = owner(back.f_code) if back else None
        if caller not in (None, module):
            trace.hops[caller, module] += 1

    return profile


def _module(filename: str) -> str | None:
    path = Path(filename)
    is_ours = path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in TOPS
    return module_of(path) if is_ours else None


def _goes_on(frame: FrameType) -> bool:
    """Whether a generator is resumed rather than started."""
    return bool(frame.f_code.co_flags & CO_GENERATOR) and frame.f_lasti > 2


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def trace_photo(run: Callable[..., Any], folder: Path) -> Trace:
    """The trace of `myvlm caption PHOTO` for a photo of Rex and Anna, from the command's start to its end; `run` runs a
    command on a store that knows both. A third concept is enrolled and another photo captioned before, so that models
    and modules have been loaded once in this process.
    """
    from engine.storybook.album import MUG
    from tests.learned import draw_album, draw_references

    vlm = ("--vlm", "storybook")
    draw_references(folder / "Mug", MUG, 5)
    draw_album(folder / "album")
    assert run("add-concept", "Mug", folder / "Mug", *vlm).code == 0
    assert run("caption", folder / "album" / "rex.jpg", *vlm).code == 0
    with traced() as trace:
        result = run("caption", folder / "album" / "both.jpg", *vlm, "--json")
    assert {c["name"] for c in result.json["photos"][0]["concepts"]} == {"Rex", "Anna"}
    return trace
