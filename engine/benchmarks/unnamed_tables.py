"""Build the tables of `myvlm evaluate --unnamed`."""

from collections.abc import Collection, Sequence
from itertools import chain
from typing import Any

from engine.benchmarks.experiments import Measurement
from engine.benchmarks.figures import Cell, Table, make_row, measured_cell, missing_cell
from engine.benchmarks.statistics import mean, proportion
from engine.benchmarks.unnamed_measure import LEAST
from engine.benchmarks.unnamed_methods import METHODS, USED

_COLUMNS = ("method", "pure groups", "right members", "right pairs", "found", "groups each", "once", "right views")
_NOTES = (
    "Groups are those in at least two photos. *pure groups*: show one individual. *right members*: show the individual"
    " that most of their group show; *right pairs*: of two members of a group that are one individual. *found*: of the"
    f" sightings of an individual in at least {LEAST} photos, the share in one group; *groups each*: how many groups"
    " are mostly of such an individual. *once*: individuals who are in one photo and yet in a group. *right views*:"
    " groups whose views, from which they would be enrolled, all show one individual.",
    "Only sightings count that were detected and pass the gate of quality: *found* does not tell of faces and animals"
    " that were missed. A false detection, and each photo of a stranger, counts as another individual who is there"
    " once: a group of such is not pure.",
)
CHOSEN_ON = frozenset({"cat", "cat2", "dog", "dog2", "dog6"})
"""Folders of the DreamBooth data set on whose photos the thresholds of `builtin` for animals were chosen."""
KINDS = {"person": "faces", "pet": "animals"}


def unnamed_tables(title: str, measured: Sequence[Measurement], folders: Collection[str] = ()) -> list[Table]:
    """Build a table for each kind of sightings.

    measured: measurements of several libraries, which are put together. folders: the names of those with real photos.
    """
    tables = []
    for kind, what in KINDS.items():
        of_kind = [m["kinds"][kind] for m in measured if kind in m["kinds"]]
        if of_kind:
            rows = tuple(_row(name, [m["methods"][name] for m in of_kind]) for name in (USED, *METHODS))
            fitted = kind == "pet" and CHOSEN_ON & set(folders)
            heading = f"{title}: {what}{' (thresholds were chosen on these photos)' if fitted else ''}"
            tables.append(Table(f"{title}-{kind}", heading, _COLUMNS, rows, (_counts(of_kind), *_NOTES)))
    return tables


def _row(name: str, measured: Sequence[Measurement]) -> tuple[Cell, ...]:
    reasons = [m["reason"] for m in measured if "reason" in m]
    if reasons:
        return make_row((name,), [missing_cell(reasons[0])] * (len(_COLUMNS) - 1))
    views = [m["views"] for m in measured if "views" in m]
    cells = (
        measured_cell(proportion(_all(measured, "pure"))),
        measured_cell(proportion(_hits(measured, "members"))),
        measured_cell(proportion(_hits(measured, "pairs"))),
        measured_cell(mean(_all(measured, "found")).clipped(0.0, 1.0)),
        measured_cell(mean(_all(measured, "pieces")), percent=False),
        measured_cell(proportion(_all(measured, "once"))),
        measured_cell(proportion(list(chain.from_iterable(views)))) if views else Cell(text="–"),
    )
    return make_row((name,), cells)


def _all(measured: Sequence[Measurement], key: str) -> list[Any]:
    return [value for m in measured for value in m[key]]


def _hits(measured: Sequence[Measurement], key: str) -> list[bool]:
    """Return right and wrong ones as observations."""
    right, total = (sum(m[key][i] for m in measured) for i in (0, 1))
    return [True] * right + [False] * (total - right)


def _counts(measured: Sequence[Measurement]) -> str:
    sightings, recurring, once = (sum(m[key] for m in measured) for key in ("sightings", "recurring", "once"))
    start, join = measured[0]["thresholds"]
    return (
        f"{sightings:,} sightings. Individuals in at least {LEAST} photos: {recurring:,}; in one: {once:,}. Thresholds"
        f" of the recogniser: start {start:g}, join {join:g}."
    )
