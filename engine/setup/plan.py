"""Plan which VLM and recogniser a machine should use, and what to fetch for them, from facts that are given."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from engine.core.errors import UsageError
from engine.setup.machine import Machine
from engine.setup.parts import Part, command_for, how_to_copy, list_parts, parts_of_recogniser
from engine.setup.reasons import has_room, reason_for_part, reason_for_vlm, remarks
from engine.setup.speed import Speed, caption_speed, recognition_speed
from engine.vision.config import RecogniserConfig, list_recognisers
from engine.vlms.config import VlmConfig, list_configs
from engine.vlms.memory import fits, least_format, may_be_default, memory_needed
from engine.vlms.preference import PROPOSED, by_preference, proposed
from engine.vlms.registry import NO_VLM

Action = Literal["use", "fetch", "leave"]


@dataclass(frozen=True)
class Choices:
    """What the user decided.

    vlm, recogniser: a name, or "none" as VLM; None leaves the choice to the plan.
    accepted, declined: names of parts whose licence the user accepted, or did not.
    offered: names of the parts in the folder that parts are taken from; None where they come from the network.
    """

    vlm: str | None = None
    recogniser: str | None = None
    accepted: frozenset[str] = frozenset()
    declined: frozenset[str] = frozenset()
    offered: frozenset[str] | None = None

    def near(self, machine: Machine) -> frozenset[str]:
        """Return the names of the parts that need no network."""
        return machine.on_disk | (self.offered or frozenset())

    def can_get(self, part: Part, machine: Machine) -> bool:
        """Return whether a part is on the disk, or may be fetched."""
        if part.name in machine.on_disk:
            return True
        if part.name in self.declined:
            return False
        return not part.is_converted if self.offered is None else part.name in self.offered


@dataclass(frozen=True)
class Item:
    """A line of a plan: a part, or a recogniser that is shipped.

    memory_gb: GB of memory that it needs on this machine, for an encoder of GPU memory; 0.0 where it needs none.
    precision: the number format of a VLM's weights for which it was computed; "" for other parts.
    speed: None where there is no basis for one.
    """

    name: str
    enables: str
    disk_gb: float
    memory_gb: float
    license: str
    on_disk: bool
    action: Action
    reason: str
    speed: Speed | None = None
    must_accept_license: bool = False
    precision: str = ""


@dataclass(frozen=True)
class Plan:
    """What a machine should use.

    vlm: a name, or "none". no_vlm: whether the user asked for none. remarks: sentences about the whole.
    """

    machine: Machine
    vlm: str
    recogniser: str
    items: tuple[Item, ...]
    remarks: tuple[str, ...]
    no_vlm: bool = False

    @property
    def to_fetch(self) -> tuple[Item, ...]:
        """The parts that have to be fetched."""
        return tuple(i for i in self.items if i.action == "fetch")

    @property
    def defaults(self) -> dict[str, str]:
        """What the plan writes to `config.toml`; without a VLM nothing about it, unless the user asked for none."""
        return {"recogniser": self.recogniser} | ({"vlm": self.vlm} if self.vlm != NO_VLM or self.no_vlm else {})

    @property
    def download_gb(self) -> float:
        """GB that have to be fetched."""
        return sum(i.disk_gb for i in self.to_fetch)


def make_plan(
    machine: Machine,
    choices: Choices | None = None,
    vlms: Sequence[VlmConfig] | None = None,
    recognisers: Sequence[RecogniserConfig] | None = None,
) -> Plan:
    """Plan for a machine; what the user chose is kept, also where it does not fit.

    vlms, recognisers: what there is to choose from; None for all that myvlm knows. Those of a drawn world are left out.

    Raises:
        UsageError: the user chose what there is not, or what cannot be fetched.
    """
    choices = choices or Choices()
    vlms = by_preference(c for c in (list_configs() if vlms is None else vlms) if not c.world)
    recognisers = _strongest_first(list_recognisers() if recognisers is None else recognisers)
    parts = list_parts(vlms, recognisers)
    vlm = _choose_vlm(machine, choices, vlms, parts)
    recogniser = _choose_recogniser(machine, choices, recognisers, vlm)
    used = {vlm.name if vlm else NO_VLM, *(p.name for p in parts_of_recogniser(recogniser))}
    items = [_shipped(c, machine, used=c == recogniser) for c in recognisers if not parts_of_recogniser(c)]
    items += [_item(p, machine, choices, used, vlm) for p in parts if _is_told(p, used | choices.near(machine))]
    return Plan(
        machine,
        vlm.name if vlm else NO_VLM,
        recogniser.name,
        tuple(items),
        tuple(remarks(machine, vlms, vlm, {i.name: i.speed for i in items if i.speed})),
        no_vlm=choices.vlm == NO_VLM,
    )


def _is_told(part: Part, there: frozenset[str] | set[str]) -> bool:
    """Whether a part gets a line: of the many chat VLMs only those that are used, at hand, or proposed to somebody."""
    is_chat = isinstance(part.config, VlmConfig) and part.config.backend == "chat"
    return not is_chat or part.name in PROPOSED or part.name in there


def _strongest_first(recognisers: Sequence[RecogniserConfig]) -> list[RecogniserConfig]:
    """List the recognisers that are fetched, then the shipped one; that for drawings only where there is no other."""
    real = [c for c in recognisers if not c.drawn_only]
    shipped = [c for c in real if not parts_of_recogniser(c)] or [c for c in recognisers if c.drawn_only]
    return [c for c in real if parts_of_recogniser(c)] + shipped


def _choose_vlm(
    machine: Machine, choices: Choices, vlms: Sequence[VlmConfig], parts: Sequence[Part]
) -> VlmConfig | None:
    """Choose the VLM: the user's, else the best that fits and is on the disk, else the best that setup proposes."""
    by_name = {p.name: p for p in parts}
    if choices.vlm == NO_VLM:
        return None
    if choices.vlm is not None:
        chosen = next((c for c in vlms if choices.vlm in (c.name, c.repo_id)), None)
        if chosen is None:
            names = ", ".join([*(c.name for c in vlms), NO_VLM])
            hint = f"Known: {names}. Other VLMs: myvlm models pull ID, then myvlm config set vlm ID"
            raise UsageError(f"setup knows no VLM called {choices.vlm!r}", hint=hint)
        _check_can_get(by_name[chosen.name], machine, choices)
        return chosen
    near = [c for c in vlms if c.name in choices.near(machine) and may_be_default(c, machine.room)]
    others = [c for c in proposed(vlms, machine.room) if choices.can_get(by_name[c.name], machine)]
    return next(iter([*near, *others]), None)


def _choose_recogniser(
    machine: Machine, choices: Choices, recognisers: Sequence[RecogniserConfig], vlm: VlmConfig | None
) -> RecogniserConfig:
    """Choose the recogniser: the user's, else one that the GPU holds beside the VLM, else the shipped one."""
    if choices.recogniser is not None:
        chosen = next((c for c in recognisers if c.name == choices.recogniser), None)
        if chosen is None:
            names = ", ".join(c.name for c in recognisers)
            raise UsageError(f"setup knows no recogniser called {choices.recogniser!r}", hint=f"Known: {names}.")
        for part in parts_of_recogniser(chosen):
            _check_can_get(part, machine, choices)
        return chosen
    for config in recognisers:
        parts = parts_of_recogniser(config)
        if parts and has_room(config, machine, vlm) and all(choices.can_get(p, machine) for p in parts):
            return config
    return recognisers[-1]


def _check_can_get(part: Part, machine: Machine, choices: Choices) -> None:
    """Check that a part of the user's choice can be had.

    Raises:
        UsageError: it cannot; the hint says what to do.
    """
    if choices.can_get(part, machine):
        return
    if part.name in choices.declined:
        hint = f"Its licence: {part.license}. To accept it: --accept-license {part.name}"
        raise UsageError(f"{part.name} is needed, and its licence was not accepted", hint=hint)
    if choices.offered is not None:
        raise UsageError(f"{part.name} is not in that folder", hint=f"To get it: {how_to_copy(part)}")
    raise UsageError(f"{part.name} cannot be fetched as a whole", hint=f"Run: {command_for(part)}")


def _shipped(config: RecogniserConfig, machine: Machine, *, used: bool) -> Item:
    """Return the line of a recogniser that is shipped."""
    action: Action = "use" if used else "leave"
    speed = recognition_speed(config, machine)
    return Item(config.name, "people, pets, things", 0.0, 0.0, config.license, True, action, "shipped", speed)


def _item(part: Part, machine: Machine, choices: Choices, used: set[str], vlm: VlmConfig | None) -> Item:
    """Return the line of a part. used: names of the parts that the plan uses."""
    on_disk = part.name in machine.on_disk
    chosen = part.name in used
    action: Action = "leave" if not chosen else "use" if on_disk else "fetch"
    speed: Speed | None = None
    memory, precision = 0.0, ""
    if isinstance(part.config, VlmConfig):
        precision = fits(part.config, machine.room)
        memory = memory_needed(part.config, precision or least_format(part.config, machine.room))
        speed = caption_speed(part.config, machine, precision) if precision else None
        reason = reason_for_vlm(part.config, machine, chosen=chosen)
    else:
        if part.kind == "encoder":
            memory, speed = part.config.encoder_memory_gb, recognition_speed(part.config, machine)
        reason = reason_for_part(part, machine, vlm, chosen=chosen, declined=choices.declined)
    facts = (part.name, part.enables, part.disk_gb, memory, part.license, on_disk, action, reason, speed)
    return Item(*facts, must_accept_license=part.must_accept_license, precision=precision)
