"""Write the model card of the shipped weights from the build's measurements."""

from pathlib import Path

from engine.storybook.build.gates import LIMITS, TARGETS

VLMS = ("storybook", "storybook-blip2", "storybook-minigpt")
_TABLE = ("| figure | measured |", "|---|---|")


def render_card(
    reports: dict[str, dict[str, float]], times: dict[str, float], files: dict[str, tuple[int, str]]
) -> str:
    """Render Markdown with gates, reports, seconds for each stage, and the size and hash of each file."""
    lines = [Path(__file__).with_name("card_head.md").read_text("utf-8")]
    lines += ["## Gates, on held-out scenes before any concept is trained", ""]
    lines += [f"| gate | target | {' | '.join(f'`{v}`' for v in VLMS)} |", "|---" * (2 + len(VLMS)) + "|"]
    gates = [reports.get(f"gates {v}", {}) for v in VLMS]
    targets = {n: f"≥ {t}" for n, t in TARGETS.items()} | {n: f"≤ {t}" for n, t in LIMITS.items()}
    names = dict.fromkeys([*targets, *(n for results in gates for n in results)])
    for n in names:
        values = " | ".join(str(results.get(n, "–")) for results in gates)
        lines.append(f"| {n} | {targets.get(n, '')} | {values} |")
    error = reports.get("shared tower", {}).get("relative error", "not measured")
    lines += ["", "– stands for what a VLM cannot be asked: BLIP-2's prompt is empty, so it only captions.", ""]
    lines += [f"Squared error of the shared tower against the LLaVA's, over the variance: {error}."]
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
