"""Draw recognition in libraries: false names against recall, and the recall of every concept."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from engine.benchmarks.curves import Curve, make_curve
from engine.benchmarks.experiments import Measurement
from engine.benchmarks.library_figures import EnrolledTruth, LibraryOutcome
from engine.benchmarks.plots import METADATA, STYLE, load_pyplot
from engine.benchmarks.recognition_measure import read_library_truth, read_outcome
from engine.benchmarks.recognition_table import TARGET_RATE

_HUES = ("#3a8f4d", "#8a5aa8", "#d9622b", "#b8912b", "#4aa3a3")
_OURS, _PAPER, _LINE = "#1f6fb4", "#6b6b6b", "#333333"
_NAMES = {"open-set": "open-set", "paper": "paper's heads"}
_MOST = 300.0
"""False names per 1,000 photos at the right edge of the plot."""


def curve_of(
    libraries: Sequence[Measurement], heads: str, wanted: Callable[[EnrolledTruth], bool] = lambda who: True
) -> Curve:
    """Compute the curve of some concepts of some libraries, per 1,000 photos; wrong names are counted in all photos."""
    margins: list[tuple[float, bool]] = []
    photos = shown = 0
    for library in libraries:
        truth = read_library_truth(library["truth"])
        chosen = {c for c, concept in enumerate(truth.concepts) if wanted(concept)}
        photos += len(truth.present)
        shown += sum(len(p & chosen) for p in truth.present)
        for present, rows in zip(truth.present, library["heads"][heads]["margins"], strict=True):
            margins += [(m, c in present) for c, m in rows if c in chosen]
    return make_curve(margins, right=shown, photos=photos, per=1000)


def draw_recognition(libraries: Sequence[Measurement], path: Path) -> None:
    """Draw the curves and the recalls as a PNG; the same measurements give the same bytes.

    Raises:
        EnvironmentFault: matplotlib is not installed.
    """
    plt = load_pyplot()
    with plt.rc_context(STYLE):
        page, (left, right) = plt.subplots(1, 2, figsize=(11.0, 4.6), layout="constrained")
        _draw_curves(left, libraries)
        _draw_recalls(right, libraries)
        page.savefig(path, metadata=METADATA["png"])
        plt.close(page)


def _draw_curves(ax: Any, libraries: Sequence[Measurement]) -> None:
    photos = sum(len(p["truth"]["present"]) for p in libraries)
    zero = min(0.1, 400.0 / max(1, photos))
    groups = list(dict.fromkeys(who.group for p in libraries for who in read_library_truth(p["truth"]).concepts))
    for hue, group in zip(_HUES, sorted(groups), strict=False):
        curve = curve_of(libraries, "open-set", partial(_is_in_group, group))
        _line(ax, curve, zero, color=hue, linewidth=1.0, alpha=0.9, label=group)
    for heads, color, style in (("open-set", _OURS, "-"), ("paper", _PAPER, "--")):
        curve = curve_of(libraries, heads)
        _line(ax, curve, zero, color=color, linewidth=2.4, linestyle=style, label=f"{_NAMES[heads]}, all")
        x, y = max(zero, curve.false[curve.at - 1]), 100 * curve.recall[curve.at - 1]
        ax.plot([x], [y], marker="o", markersize=8, color=color, markeredgecolor="white", zorder=5, clip_on=False)
    ax.axvline(TARGET_RATE, color=_LINE, linestyle=":", linewidth=1.2)
    ax.text(TARGET_RATE, 2.0, " promised: at most 1", color=_LINE, fontsize=8.5, va="bottom")
    ax.set_xscale("log")
    ticks = [t for t in (0.01, 0.1, 1.0, 10.0, 100.0) if t > 1.5 * zero]
    ax.set(xlim=(zero, _MOST), ylim=(0, 101), xlabel="false names per 1,000 photos", ylabel="recall (%)")
    ax.set_xticks([zero, *ticks], ["0", *(f"{t:g}" for t in ticks)])
    ax.minorticks_off()
    ax.set_title("All thresholds moved together; dots: as they are", fontsize=10)
    ax.legend(loc="lower right", fontsize=8.5, bbox_to_anchor=(1.0, 0.08))


def _is_in_group(group: str, concept: EnrolledTruth) -> bool:
    return concept.group == group


def _line(ax: Any, curve: Curve, zero: float, **style: Any) -> None:
    ax.step(np.maximum(zero, curve.false), 100 * curve.recall, where="post", **style)


def _draw_recalls(ax: Any, libraries: Sequence[Measurement]) -> None:
    """Draw the recall of each concept of each library, lowest first."""
    for heads, color, style in (("open-set", _OURS, "-"), ("paper", _PAPER, "--")):
        outcomes = [read_outcome(p, heads) for p in libraries]
        values = sorted(100 * (f.value or 0.0) for o in outcomes for f in o.recall.values())
        ranks = np.arange(1, len(values) + 1)
        label = f"{_NAMES[heads]}, {_false_rate(outcomes):.1f} false names per 1,000"
        ax.plot(ranks, values, color=color, linestyle=style, marker=".", markersize=5, label=label)
    ax.axhline(80, color=_LINE, linestyle=":", linewidth=1.2)
    ax.set(ylim=(0, 101), xlabel="concepts of all libraries, worst first", ylabel="recall (%)")
    ax.set_title("Recall of each concept, thresholds as they are", fontsize=10)
    ax.legend(loc="lower right", fontsize=8.5)


def _false_rate(outcomes: Sequence[LibraryOutcome]) -> float:
    return 1000 * sum(sum(o.wrong) for o in outcomes) / max(1, sum(len(o.wrong) for o in outcomes))
