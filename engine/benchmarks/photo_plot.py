"""Draw recognition on photos: recall against wrong names, and recall by the number of reference photos."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.benchmarks.photo_figures import Round, ThresholdSort, count_figures, photo_curve
from engine.benchmarks.photo_rounds import PhotoMeasurement
from engine.benchmarks.plots import METADATA, STYLE, load_pyplot
from engine.benchmarks.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLORS = ("#1f6fb4", "#d9622b", "#3a8f4d", "#8a5aa8", "#b8912b", "#6b6b6b")
_STYLES = ("-", "--", ":", "-.")
_MOST = 100.0
"""Wrong names per 100 strangers' photos at the right edge of the plot."""


def draw_photos(measurements: Sequence[PhotoMeasurement], path: Path) -> None:
    """Draw both plots as one PNG; the same measurements give the same bytes.

    Raises:
        EnvironmentFault: matplotlib is not installed.
    """
    plt = load_pyplot()
    with plt.rc_context(STYLE):
        page, (left, right) = plt.subplots(1, 2, figsize=(11.0, 4.6), layout="constrained")
        _draw_curves(left, measurements)
        _draw_recalls(right, measurements)
        page.savefig(path, metadata=METADATA["png"])
        plt.close(page)


def _draw_curves(ax: "Axes", measurements: Sequence[PhotoMeasurement]) -> None:
    """Draw a line for each number of references, and a style for each recogniser; thresholds before a calibration."""
    looks = max((sum(p.concept is None for r in _rounds(m) for p in r.photos) for m in measurements), default=0)
    zero = min(0.1, 40.0 / max(1, looks))
    for style, m in zip(_STYLES, measurements, strict=False):
        for color, count in zip(_COLORS, _counts(m), strict=False):
            curve = photo_curve(_rounds(m, count))
            label = f"{m.recogniser}, {_references(count)}"
            x_values, y_values = np.maximum(zero, curve.false), 100 * curve.recall
            ax.step(x_values, y_values, where="post", color=color, linestyle=style, label=label)
            x, y = max(zero, curve.false[curve.at - 1]), 100 * curve.recall[curve.at - 1]
            ax.plot([x], [y], marker="o", markersize=7, color=color, markeredgecolor="white", zorder=5, clip_on=False)
    ax.set_xscale("log")
    ticks = [t for t in (0.1, 1.0, 10.0, 100.0) if t > 1.5 * zero]
    ax.set(xlim=(zero, _MOST), ylim=(0, 101), xlabel="wrong names in 100 photos of strangers", ylabel="recall (%)")
    ax.set_xticks([zero, *ticks], ["0", *(f"{t:g}" for t in ticks)])
    ax.minorticks_off()
    ax.set_title("All thresholds moved together; dots: as they are", fontsize=10)
    ax.legend(loc="lower right", fontsize=8.5, frameon=True, framealpha=0.8, edgecolor="none")


def _draw_recalls(ax: "Axes", measurements: Sequence[PhotoMeasurement]) -> None:
    counts = sorted({n for m in measurements for n in _counts(m)})
    for color, m in zip(_COLORS, measurements, strict=False):
        figures = [count_figures(_rounds(m, n)) for n in counts]
        named, with_maybes = [f.recall for f in figures], [f.recall_with_maybes for f in figures]
        _bars(ax, named, shift=-0.04, color=color, linestyle="-", label=f"{m.recogniser}, named")
        _bars(ax, with_maybes, shift=0.04, color=color, linestyle="--", label=f"{m.recogniser}, named or maybe")
    labels = [str(n) for n in counts]
    ax.set(ylim=(0, 101), xlabel="reference photos", ylabel="recall (%)", xticks=range(len(counts)), xticklabels=labels)
    ax.set_title("Recall, not calibrated (bars: 95 % intervals)", fontsize=10)
    ax.legend(loc="lower right", fontsize=8.5, frameon=True, framealpha=0.8, edgecolor="none")


def _bars(ax: "Axes", values: Sequence[Estimate], *, shift: float, color: str, linestyle: str, label: str) -> None:
    y = np.array([100 * (e.value or 0.0) for e in values])
    low, high = (np.array([100 * (getattr(e, end) or 0.0) for e in values]) for end in ("low", "high"))
    spread = np.clip([y - low, high - y], 0, None)
    ax.errorbar(
        np.arange(len(values)) + shift,
        y,
        yerr=spread,
        marker="o",
        capsize=3,
        color=color,
        linestyle=linestyle,
        label=label,
    )


def _references(count: int) -> str:
    return f"{count} reference" + ("" if count == 1 else "s")


def _counts(measurement: PhotoMeasurement) -> list[int]:
    return sorted({r.references for r in measurement.rounds})


def _rounds(measurement: PhotoMeasurement, count: int | None = None) -> list[Round]:
    """Return the rounds with thresholds that were not calibrated."""
    return [r for r in measurement.rounds if r.thresholds is ThresholdSort.PRIOR and count in (None, r.references)]
