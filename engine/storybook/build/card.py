"""The model card of the shipped weights, written from what was measured."""

from pathlib import Path

from engine.storybook.build.gates import LIMITS, TARGETS

_TABLE = ("| figure | measured |", "|---|---|")


def render_card(
    reports: dict[str, dict[str, float]], times: dict[str, float], files: dict[str, tuple[int, str]]
) -> str:
    """Markdown with gates, reports, seconds a stage and the files' sizes and hashes."""
    lines = [Path(__file__).with_name("card_head.md").read_text("utf-8")]
    lines += ["## Gates, on held-out scenes before any concept is trained", ""]
    lines += ["| gate | target | measured |", "|---|---|---|"]
    gates = reports.get("gates", {})
    lines += [f"| {name} | ≥ {target} | {gates.get(name, 'not measured')} |" for name, target in TARGETS.items()]
    lines += [f"| {name} | ≤ {limit} | {gates.get(name, 'not measured')} |" for name, limit in LIMITS.items()]
    lines += [f"| {n} | | {v} |" for n, v in gates.items() if n not in TARGETS and n not in LIMITS]
    for title, key in (("The vision tower, read by linear heads", "vision"), ("The face pack", "faces")):
        lines += ["", f"## {title}", "", *_TABLE]
        lines += [f"| {n} | {v} |" for n, v in reports.get(key, {}).items()]
    lines += ["", "## How long it took", "", "Seconds of each stage, on the machine that ran it.", ""]
    lines += ["| stage | seconds |", "|---|---|"]
    lines += [f"| {n} | {v:.0f} |" for n, v in times.items()]
    lines += ["", "## Files", "", "| file | bytes | sha256 (first 16) |", "|---|---|---|"]
    lines += [f"| {n} | {size} | {digest} |" for n, (size, digest) in files.items()]
    lines += [f"| all | {sum(size for size, _ in files.values())} | |", ""]
    return "\n".join(lines)
