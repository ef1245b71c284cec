"""`myvlm setup`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.core.errors import EnvironmentFault
from myvlm_cli import options as o
from myvlm_cli.completion import complete_recogniser, complete_vlm
from myvlm_cli.licences import AcceptLicense, is_accepted
from myvlm_cli.output import out
from myvlm_cli.prompt import confirm
from myvlm_cli.setup_view import describe_plan, print_plan, question, tell_ollama

if TYPE_CHECKING:
    from engine.setup.machine import Machine
    from engine.setup.plan import Choices, Plan

COPIED = "Copy them as listed, or put them into one folder and run: myvlm setup --from FOLDER"
NEXT = "Next: myvlm add-concept NAME PHOTOS"


def setup(
    plan: Annotated[bool, typer.Option("--plan", help="Print the plan only; fetch and change nothing.")] = False,
    yes: o.Yes = False,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="FOLDER", help="Copy models from this folder; no network.", show_default=False),
    ] = None,
    accept_license: AcceptLicense = None,
    vlm: Annotated[
        str | None,
        typer.Option("--vlm", help="Use this VLM, or none.", autocompletion=complete_vlm, show_default=False),
    ] = None,
    recogniser: Annotated[
        str | None,
        typer.Option(
            "--recogniser", help="Use this recogniser.", autocompletion=complete_recogniser, show_default=False
        ),
    ] = None,
    json: o.Json = False,
) -> None:
    """Choose models for this machine, fetch them, and make them the defaults.

    It prints a plan, asks once, fetches what is missing, checks it, and writes config.toml in the data folder. Licences
    that forbid commercial use are accepted by name only: --yes does not accept them.

    Example: myvlm setup --plan
    """
    from engine.core.paths import go_online, stay_offline

    stay_offline() if plan or source else go_online()
    from engine.setup.machine import measure_machine
    from engine.setup.plan import Choices, make_plan

    machine = measure_machine()
    accepted = tuple(accept_license or ())
    choices = Choices(vlm, recogniser, frozenset(accepted), offered=_offered(source))
    proposal = make_plan(machine, choices)
    if plan or not json:
        print_plan(proposal, json=json)
    tell_ollama()
    if not proposal.to_fetch:
        out.say("Nothing needs fetching.")
    if plan:
        out.say("Next: myvlm setup" if proposal.to_fetch else NEXT)
        return
    proposal = _agree(proposal, choices, accepted, yes=yes)
    done = _carry_out(proposal, source)
    if json:
        out.json_document(describe_plan(proposal) | done)
    out.say(NEXT)


def _offered(source: Path | None) -> frozenset[str] | None:
    """Return the names of the parts in the folder of --from; None without the option."""
    if source is None:
        return None
    from engine.setup.copying import find_source
    from engine.setup.parts import list_parts

    offered = frozenset(p.name for p in list_parts() if find_source(source, p) is not None)
    if not offered:
        names = [p.name for p in list_parts() if not p.is_converted]
        _list_what_to_copy(names)
        raise EnvironmentFault(f"{source} has none of the models", hint=COPIED)
    return offered


def _agree(proposal: "Plan", choices: "Choices", accepted: tuple[str, ...], *, yes: bool) -> "Plan":
    """Ask for what the plan does, and for licences; return the plan that the user agreed to."""
    from engine.setup.plan import make_plan

    asked = question(proposal, _current_defaults())
    if asked is None:
        return proposal
    confirm(asked, yes=yes)
    declined = {
        i.name
        for i in proposal.to_fetch
        if i.must_accept_license and not is_accepted(i.name, i.license, accepted, ask=not yes)
    }
    for i in proposal.to_fetch:
        if i.name in declined:
            out.say(f"{i.name} is left out: its licence ({i.license}) was not accepted.")
            out.say(f"To accept it, add: --accept-license {i.name}")
    if not declined:
        return proposal
    return make_plan(proposal.machine, replace(choices, declined=frozenset(declined)))


def _carry_out(proposal: "Plan", source: Path | None) -> dict[str, object]:
    """Fetch, check, repair, and write the defaults; return what was done, for JSON."""
    names = [item.name for item in proposal.to_fetch]
    fetched = []
    for number, name in enumerate(names):
        with _with_what_to_copy(names[number:]):
            fetched.append(_get(name, proposal.machine, source))
    if proposal.machine.overwritten_provider:
        from engine.setup.repair import repair_onnxruntime

        repair_onnxruntime()
        out.say("ONNX Runtime can use CUDA again.")
    return {"fetched": fetched, "config": _write_defaults(proposal)}


@contextmanager
def _with_what_to_copy(names: Sequence[str]) -> Iterator[None]:
    """Where there is no network, list all that is to be copied by hand before the error ends the run."""
    from engine.setup.hub import UnreachableError

    try:
        yield
    except UnreachableError as err:
        _list_what_to_copy(names)
        raise UnreachableError(str(err), hint=COPIED) from err


def _list_what_to_copy(names: Sequence[str]) -> None:
    """Say for each model what to copy by hand, and where to."""
    from engine.setup.parts import find_part, how_to_copy

    out.say("Without network:")
    for part in map(find_part, names):
        if part is not None:
            out.say(f"  {part.name}: {how_to_copy(part)}")


def _get(name: str, machine: "Machine", source: Path | None) -> dict[str, str]:
    """Fetch or copy one part, and check it."""
    from engine.setup.copying import copy_part, find_source
    from engine.setup.fetch import fetch_part
    from engine.setup.parts import find_part
    from engine.setup.verify import verify_part

    part = find_part(name)
    assert part is not None
    found = find_source(source, part) if source else None
    folder = copy_part(found, out.say) if found else fetch_part(part, out.say)
    checked = verify_part(part, machine)
    out.say(f"{name}: {checked}.")
    return {"name": name, "path": str(folder), "checked": checked}


def _current_defaults() -> dict[str, str]:
    """Return the models that config.toml chooses."""
    from engine.core.config_file import read_config
    from engine.core.paths import home

    return {key: str(value) for key, value in read_config(home()).items() if key in ("vlm", "recogniser")}


def _write_defaults(proposal: "Plan") -> dict[str, str]:
    """Write the defaults of a plan to config.toml; return them."""
    from engine.core.config_file import config_path
    from engine.core.paths import home
    from engine.defaults import set_default

    for key, value in proposal.defaults.items():
        set_default(home(), key, value)
    chosen = ", ".join(f"{k} = {v}" for k, v in proposal.defaults.items())
    out.say(f"Defaults in {config_path(home())}: {chosen}")
    return proposal.defaults
