"""Show a plan of `myvlm setup`: a table, remarks, and the question before it is carried out."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from myvlm_cli.output import Document, out
from myvlm_cli.tables import Column, print_table

if TYPE_CHECKING:
    from engine.setup.plan import Item, Plan
    from engine.setup.speed import Speed

_COLUMNS = (
    Column("plan"),
    Column("model"),
    Column("for", prose=True),
    Column("GB", "right"),
    Column("photos/s", "right"),
    Column("why", prose=True),
    Column("memory_gb", only="pipe"),
    Column("license", only="pipe"),
)
_ACTIONS = {"use": "use", "fetch": "get", "leave": "-"}


def print_plan(plan: "Plan", *, json: bool) -> None:
    """Print a plan: as one JSON document, or as a table with the remarks and licences beside it."""
    from engine.setup.reasons import describe_machine

    if json:
        out.json_document(describe_plan(plan))
        return
    out.say(describe_machine(plan.machine))
    print_table(_COLUMNS, [_cells(i) for i in plan.items])
    for remark in plan.remarks:
        out.say(remark)
    for item in plan.to_fetch:
        out.say(f"Licence of {item.name}: {item.license}.")


def _cells(item: "Item") -> tuple[str, ...]:
    return (
        _ACTIONS[item.action],
        item.name,
        item.enables,
        f"{item.disk_gb:g}" if item.disk_gb else "",
        speed_text(item.speed),
        item.reason,
        f"{item.memory_gb:g}" if item.memory_gb else "",
        item.license,
    )


def speed_text(speed: "Speed | None") -> str:
    """Return photos a second with one or two significant digits, after ≤ for a bound or ~ for a measured speed."""
    if speed is None:
        return ""
    value = speed.photos_per_second
    digits = f"{value:.0f}" if value >= 9.95 else f"{value:.1f}" if value >= 0.95 else f"{value:.1g}"
    return f"{'≤' if speed.at_most else '~'} {digits}"


def describe_plan(plan: "Plan") -> Document:
    """Return a plan for JSON."""
    machine = asdict(plan.machine) | {"on_disk": sorted(plan.machine.on_disk)}
    return {
        "machine": machine,
        "vlm": plan.vlm,
        "recogniser": plan.recogniser,
        "download_gb": round(plan.download_gb, 1),
        "models": [asdict(i) for i in plan.items],
        "remarks": list(plan.remarks),
    }


def question(plan: "Plan", current: dict[str, str]) -> str | None:
    """Return the question to ask before a plan is carried out; None where it changes nothing that matters.

    current: the defaults in config.toml.
    """
    actions = []
    if plan.to_fetch:
        actions.append(f"fetch {', '.join(i.name for i in plan.to_fetch)} ({plan.download_gb:.1f} GB)")
    if plan.machine.overwritten_provider:
        actions.append("reinstall onnxruntime-gpu, so that faces are found on the GPU")
    for key, value in plan.defaults.items():
        if current.get(key, value) != value:
            actions.append(f"change the default {key} from {current[key]} to {value}")
    text = "; ".join(actions)
    return f"{text[0].upper()}{text[1:]}?" if text else None


def tell_ollama() -> None:
    """Say that Ollama runs on this machine with models that can be used as they are."""
    from engine.vlms.server.served import find_ollama, name_of

    ollama = find_ollama()
    if ollama and ollama.models:
        out.say(
            f"Ollama runs here and needs no download. To use it: myvlm config set vlm '{name_of(ollama.models[0])}'"
        )
