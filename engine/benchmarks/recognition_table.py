"""Tables of recognition in libraries: figures with their targets, and the paper's heads on the same photos."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from engine.benchmarks.experiments import Part
from engine.benchmarks.figures import Cell, Table, measured, missing, row, said
from engine.benchmarks.library_cases import CROWDS
from engine.benchmarks.library_figures import LibraryOutcome, pool, rate_per_1000
from engine.benchmarks.recognition_measure import outcome_of_part
from engine.benchmarks.render import render_cell
from engine.benchmarks.statistics import Figure, mean, proportion

HEADS = ("open-set", "paper")
PROMISED = 1.0
_KEEP_PROMISE = 0.95
_RECALL, _WORST, _MIXED, _OVERLAP, _SECONDS = 0.9, 0.8, 0.01, 0.6, 2.0
_SETS = {2: 0.97, 3: 0.95, 4: 0.93}
_LIKENESSES = {"sibling": "siblings", "look_alike": "look-alikes", "twin": "twins"}
_COLUMNS = ("figure", "target", "open-set", "met", "paper's heads")


@dataclass(frozen=True)
class Measured:
    """Parts of a run: what was named in each library, what teaching did in some, what an eleventh concept cost."""

    libraries: Sequence[Part]
    teachings: Mapping[int, Part] = field(default_factory=dict)
    eleventh: Part | None = None

    def outcomes(self, heads: str) -> list[LibraryOutcome]:
        """What came of each library."""
        return [outcome_of_part(p, heads) for p in self.libraries]


def recognition_tables(found: Measured) -> list[Table]:
    """The figures with their targets, the libraries one by one, and what teaching did in each."""
    tables = [_targets(found), _by_library(found)]
    return [*tables, _teaching(found)] if found.teachings else tables


def _targets(found: Measured) -> Table:
    pooled = {heads: pool(found.outcomes(heads)) for heads in HEADS}
    rows = [*_false_names(found, pooled), *_recalls(found, pooled), *_sets(pooled)]
    rows += [*_reviewed(found), *_predicted(found), *_after(found)]
    photos = len(pooled["open-set"].wrong)
    title = f"Recognition in {_libraries(len(found.libraries), 'drawn ')}, {photos} photos in all"
    notes = ["Intervals: Wilson's for shares, normal for means, Poisson's for rates; photos as independent."]
    sizes = [len(p["truth"]["present"]) for p in found.libraries]
    if min(sizes) < 2000:
        notes.append("Libraries of fewer than 2,000 photos say little of rates of one in a thousand.")
    if not all(p["heads"]["open-set"]["calibrated"] for p in found.libraries):
        notes.append("Some libraries have too few photos to calibrate on: the usual thresholds were used there.")
    notes.append("The paper's heads have fixed thresholds, and promise nothing.")
    return Table("recognition", title, _COLUMNS, tuple(rows), tuple(notes))


def _false_names(found: Measured, pooled: Mapping[str, LibraryOutcome]) -> list[tuple[Cell, ...]]:
    rates = {h: rate_per_1000(sum(o.wrong), len(o.wrong)) for h, o in pooled.items()}
    kept = {h: proportion([o.wrong_per_1000 <= PROMISED for o in found.outcomes(h)]) for h in HEADS}
    return [
        _row("false names per 1,000 photos", "≤ 1", rates, lambda v: v <= PROMISED, percent=False),
        _row("libraries with at most 1 per 1,000", "≥ 19 of 20", kept, lambda v: v >= _KEEP_PROMISE),
    ]


def _recalls(found: Measured, pooled: Mapping[str, LibraryOutcome]) -> list[tuple[Cell, ...]]:
    every = {h: proportion(list(chain.from_iterable(o.found.values()))) for h, o in pooled.items()}
    lowest, worst, named = {}, {}, {}
    for heads in HEADS:
        own = found.outcomes(heads)
        all_of = [proportion(list(chain.from_iterable(o.found.values()))) for o in own]
        lowest[heads] = min((f for f in all_of if f.n), key=lambda f: f.value or 0.0, default=_NONE)
        both = zip(own, found.libraries, strict=True)
        least = [(o.recall[o.worst], p, o.worst) for o, p in both if o.worst is not None]
        worst[heads] = mean([f.value or 0.0 for f, _, _ in least]).clipped(0.0, 1.0)
        named[heads] = min(least, key=lambda one: one[0].value or 0.0, default=None)
    rows = [
        _row("recall", "≥ 90 %", every, lambda v: v >= _RECALL),
        _row("recall, worst library", "≥ 90 %", lowest, lambda v: v >= _RECALL),
        _row("recall, worst concept: mean over libraries", "≥ 80 %", worst, lambda v: v >= _WORST, few=True),
    ]
    if named["open-set"] is not None and named["paper"] is not None:
        cells = {h: said(_worst_text(*one)) for h, one in named.items() if one is not None}
        met = _met(named["open-set"][0].value, lambda v: v >= _WORST)
        label = [said("recall, worst concept of any library"), said("≥ 80 %")]
        rows.append((*label, cells["open-set"], said(met), cells["paper"]))
    return rows


def _worst_text(figure: Figure, part: Part, place: int) -> str:
    who = part["truth"]["concepts"][place]
    return f"{render_cell(measured(figure))}: {who['name']} ({who['kind']}) of library {part['seed']}"


def _sets(pooled: Mapping[str, LibraryOutcome]) -> list[tuple[Cell, ...]]:
    rows = [
        _row(
            f"{n} concepts in a photo: F1 of the names",
            f"≥ {100 * _SETS[n]:.0f} %",
            {h: mean(o.sets.get(n, ())).clipped(0.0, 1.0) for h, o in pooled.items()},
            lambda v, n=n: v >= _SETS[n],
        )
        for n in CROWDS
    ]
    overlap = {h: mean(o.overlaps).clipped(0.0, 1.0) for h, o in pooled.items()}
    return [*rows, _row("IoU of right names' regions", "≥ 0.6", overlap, lambda v: v >= _OVERLAP, percent=False)]


def mixed_up(libraries: Sequence[Part], heads: str, likeness: str) -> Figure:
    """The share of photos of those who resemble somebody in this way that got the absent one's name."""
    hits: list[bool] = []
    for part in libraries:
        mixed = outcome_of_part(part, heads).mixed
        hits += [v for c, own in mixed.items() if part["truth"]["concepts"][c]["likeness"] == likeness for v in own]
    return proportion(hits)


def _reviewed(found: Measured) -> list[tuple[Cell, ...]]:
    rows = []
    for likeness, word in _LIKENESSES.items():
        mixed = {h: mixed_up(found.libraries, h, likeness) for h in HEADS}
        if mixed["open-set"].n:
            rows.append(_row(f"{word} taken for each other, of their photos", "≤ 1 %", mixed, lambda v: v <= _MIXED))
    review, recall = with_maybes(found.libraries)
    none = (said("—"), said("has no maybes"))
    rows.append((said("photos with a maybe, per 1,000"), said("—"), measured(review, percent=False), *none))
    rows.append((said("recall, names and maybes"), said("—"), measured(recall), *none))
    return rows


def with_maybes(libraries: Sequence[Part]) -> tuple[Figure, Figure]:
    """Photos in 1,000 that a user would be asked about, and the recall if the answers were known."""
    asked, found, photos = 0, [], 0
    for part in libraries:
        own = part["heads"]["open-set"]
        for present, names, maybes in zip(part["truth"]["present"], own["names"], own["maybes"], strict=True):
            photos += 1
            asked += bool(maybes)
            told = {c for c, _ in (*names, *maybes)}
            found += [c in told for c in present]
    return rate_per_1000(asked, photos), proportion(found)


def _predicted(found: Measured) -> list[tuple[Cell, ...]]:
    apart = sum(len(p["heads"]["open-set"]["apart"]) for p in found.libraries)
    every = sum(len(p["truth"]["concepts"]) for p in found.libraries)
    expected = mean([p["heads"]["open-set"]["expected"] for p in found.libraries])
    text = f"{expected.value:.2f}" if found.libraries else "—"
    return [
        row(("concepts that cannot be told from others", "—", f"{apart} of {every}", "—", "not known"), ()),
        row(("false names per 1,000 photos, as predicted", "—", text, "—", "not known"), ()),
    ]


def _after(found: Measured) -> list[tuple[Cell, ...]]:
    """What teaching did, and what one more concept takes."""
    rows, none = [], "not measured"
    if found.teachings:
        turns = [t for p in found.teachings.values() for t in p["turns"]]
        own, others = ([sum(sum(t[key][k]) for t in turns) for k in (0, 1)] for key in ("own", "others"))
        halved = "—" if not own[0] else "met" if 2 * own[1] <= own[0] else "missed"
        worse = "met" if others[1] <= others[0] else "missed"
        where = f"in {_libraries(len(found.teachings))}"
        label = "errors of the worst concept after 10 decisions"
        rows.append(row((label, "halved", f"{_change(own)} {where}", halved, none), ()))
        rows.append(row(("errors of all others then", "no more", f"{_change(others)} {where}", worse, none), ()))
    if found.eleventh:
        e = found.eleventh
        took, total = e["seconds"], sum(e["seconds"].values())
        text = f"{total:.2f} s: " + ", ".join(f"{k} {v:.2f} s" for k, v in took.items())
        text += f"; threads {e['threads']}, cores {e['cores']}, photos {e['photos']}; models loaded"
        met = "met" if total < _SECONDS else "missed"
        rows.append(row(("an eleventh concept over a scanned library", "< 2 s", text, met, "not measured"), ()))
        text = f"{e['false_names']} in {e['photos']} photos"
        rows.append(row(("false names of the eleventh, who is in no photo", "—", text, "—", "not measured"), ()))
    return rows


def _libraries(count: int, sort: str = "") -> str:
    return f"{count} {sort}{'library' if count == 1 else 'libraries'}"


def _change(counts: Sequence[int]) -> str:
    return f"{counts[0]} → {counts[1]}"


def _by_library(found: Measured) -> Table:
    columns = ("library", "false names per 1,000", "predicted", "recall", "worst concept")
    columns += (
        "photos with a maybe, per 1,000",
        "not separable",
        "paper's heads: false names per 1,000",
        "paper's heads: recall",
    )
    rows = []
    for part, ours, paper in zip(found.libraries, found.outcomes("open-set"), found.outcomes("paper"), strict=True):
        heads = part["heads"]["open-set"]
        recall, theirs = (measured(proportion(list(chain.from_iterable(o.found.values())))) for o in (ours, paper))
        worst = missing("nobody is in any photo") if ours.worst is None else _worst_cell(part, ours)
        texts = [said(f"{ours.wrong_per_1000:.2f}"), said(f"{heads['expected']:.2f}"), recall, worst]
        texts += [said(f"{with_maybes([part])[0].value or 0.0:.1f}"), said(str(len(heads["apart"])))]
        rows.append((said(str(part["seed"])), *texts, said(f"{paper.wrong_per_1000:.2f}"), theirs))
    return Table("libraries", "Each library", columns, tuple(rows))


def _worst_cell(part: Part, outcome: LibraryOutcome) -> Cell:
    assert outcome.worst is not None
    who = part["truth"]["concepts"][outcome.worst]
    likeness = f", has a {who['likeness'].replace('_', '-')}" if who["likeness"] else ""
    return said(f"{render_cell(measured(outcome.recall[outcome.worst]))}: {who['name']} ({who['kind']}{likeness})")


def _teaching(found: Measured) -> Table:
    columns = ("library", "worst concept", "decisions", "its errors (missed + false)", "errors of all others", "photos")
    rows = []
    for seed, part in found.teachings.items():
        alike = f", has a {part['likeness'].replace('_', '-')}" if part["likeness"] else ""
        for turn in part["turns"]:
            made = f"{turn['confirmed']} confirmed, {turn['rejected']} rejected"
            own, others = (" → ".join(f"{a} + {b}" for a, b in turn[k]) for k in ("own", "others"))
            who = f"{part['concept']} ({part['kind']}{alike})"
            rows.append(row((str(seed), who, made, own, others, str(turn["photos"])), ()))
    note = "Decisions are about photos of one half of the library; errors are counted in the other half, each in turn."
    return Table("teaching", "After ten decisions about the worst concept", columns, tuple(rows), (note,))


_NONE = Figure(None, 0, None, None)


def _row(
    label: str,
    target: str,
    figures: Mapping[str, Figure],
    reached: Callable[[float], bool],
    *,
    percent: bool = True,
    few: bool = False,
) -> tuple[Cell, ...]:
    """A figure of both heads; `few` observations may be a single one, which has no interval."""
    cells = {h: _lone(f) if few and f.n == 1 else measured(f, percent=percent) for h, f in figures.items()}
    ours, paper = (cells[h] for h in HEADS)
    return (said(label), said(target), ours, said(_met(figures["open-set"].value, reached)), paper)


def _lone(figure: Figure) -> Cell:
    return said(f"{100 * (figure.value or 0.0):.1f} %, n 1")


def _met(value: float | None, reached: Callable[[float], bool]) -> str:
    return "—" if value is None else "met" if reached(value) else "missed"
