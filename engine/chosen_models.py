"""The models of a run: which VLM, recogniser, device and number format are in use, where each comes from, and why."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from engine.core.config_file import KEYS, Value, config_path, read_config
from engine.core.cpu import has_bfloat16, is_apple_silicon
from engine.core.errors import NoVlmError, UsageError, WeightsMissingError
from engine.core.nvidia import has_nvidia_gpu
from engine.defaults import Origin, Setting, choose, name_the_file
from engine.vision.config import DEFAULT_RECOGNISER, RecogniserConfig, find_recogniser
from engine.vlms.config import VlmConfig
from engine.vlms.find import find_config
from engine.vlms.memory import Room, best_format, lack_of_memory, machine_memory_gb, may_be_default
from engine.vlms.prompt_config import Speak
from engine.vlms.quantise import formats_installed
from engine.vlms.registry import HOW_TO_GET_A_VLM, NO_VLM, check_vlm, no_vlm, precision_of, vlms_on_disk

if TYPE_CHECKING:
    import torch

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class ModelOptions:
    """What the user chose for one run; None leaves the choice to `config.toml` and what is built in.

    allow_remote: whether photos may leave this machine. It is an option only: no file can allow it for later runs.
    """

    vlm: str | None = None
    recogniser: str | None = None
    device: str | None = None
    dtype: str | None = None
    speak: Speak | None = None
    quantise: str | None = None
    allow_remote: bool = field(default=False, kw_only=True)


class ChosenModels:
    """Options and `config.toml` of a data folder, resolved; each value is looked for when it is first needed.

    Every property raises ConfigError where `config.toml` cannot be read, or holds what it must not.
    """

    def __init__(self, options: ModelOptions, folder: Path) -> None:
        self.options = options
        self.folder = folder

    @cached_property
    def config(self) -> dict[str, Value]:
        """The values of `config.toml`."""
        return read_config(self.folder)

    @cached_property
    def vlm_setting(self) -> Setting:
        """The VLM's name: the one that was chosen, else the best on this disk that fits, else `NO_VLM`."""
        chosen = choose("vlm", self.options.vlm, self.config)
        if chosen.value is not None:
            return chosen
        best = next((c for c in self.vlms_on_disk if may_be_default(c, self.room)), None)
        return Setting("vlm", best.name, Origin.ON_DISK) if best else Setting("vlm", NO_VLM, Origin.BUILT_IN)

    @cached_property
    def recogniser_setting(self) -> Setting:
        """The recogniser's name: the one that was chosen, else the one that belongs to a chosen VLM, else built in."""
        chosen = choose("recogniser", self.options.recogniser, self.config)
        if chosen.value is not None:
            return chosen
        belonging = self._named_vlm.recogniser if self._named_vlm else None
        if belonging is not None:
            return Setting("recogniser", belonging, Origin.VLM)
        return Setting("recogniser", DEFAULT_RECOGNISER, Origin.BUILT_IN)

    def setting(self, key: str) -> Setting:
        """Return the setting of a key of `config.toml`."""
        match key:
            case "vlm":
                return self.vlm_setting
            case "recogniser":
                return self.recogniser_setting
            case "device":
                return choose(key, self.options.device, self.config)
            case "dtype":
                return choose(key, self.options.dtype, self.config)
            case "speak":
                return choose(key, self.options.speak, self.config)
            case "quantise":
                return choose(key, self.options.quantise, self.config)
            case _:
                return choose(key, None, self.config)

    @property
    def settings(self) -> tuple[Setting, ...]:
        """All settings, in the order of their keys."""
        return tuple(self.setting(key) for key in KEYS)

    @cached_property
    def vlm_config(self) -> VlmConfig:
        """The VLM in use; without one a stand-in with the identifiers that the VLMs for real photos share.

        Raises:
            UsageError: no VLM has the name that an option gives.
        """
        if self.vlm_setting.value == NO_VLM:
            return no_vlm()
        config = self._named_vlm or find_config(str(self.vlm_setting.value))
        if config.server is not None and self.options.allow_remote:
            return replace(config, server=replace(config.server, allow_remote=True))
        return config

    @cached_property
    def _named_vlm(self) -> VlmConfig | None:
        """The VLM that an option or `config.toml` names."""
        setting = choose("vlm", self.options.vlm, self.config)
        return None if setting.value in (None, NO_VLM) else self._find(setting, find_config)

    @cached_property
    def recogniser_config(self) -> RecogniserConfig:
        """The recogniser in use.

        Raises:
            UsageError: no recogniser has the name that an option gives.
        """
        return self._find(self.recogniser_setting, find_recogniser)

    @cached_property
    def device(self) -> "torch.device":
        """Where models run.

        Raises:
            UsageError: there is no such device.
            EnvironmentFault: it is a GPU, and torch can use none.
        """
        from engine.core.device import pick_device

        return self._find(self.setting("device"), pick_device)

    @cached_property
    def dtype(self) -> "torch.dtype":
        """The recogniser's number format, and that of a VLM for which `vlm_dtype` has no other.

        Raises:
            UsageError: there is no such number format.
        """
        from engine.core.device import pick_dtype

        return self._find(self.setting("dtype"), lambda name: pick_dtype(name, self.device))

    @cached_property
    def vlm_format(self) -> str:
        """The number format of the VLM's weights: "bfloat16", "int8" …; quantised where the memory asks for it.

        Without `--dtype` and `--quantise` it is the first that fits: plain weights, then int8, then 4 bits.

        Raises:
            UsageError: the VLM cannot be loaded quantised.
        """
        quantise = str(self.setting("quantise").value)
        if quantise in ("int8", "int4"):
            return precision_of(self.vlm_config, self.device, self.dtype, quantise)
        if self.setting("dtype").value != "auto":
            return precision_of(self.vlm_config, self.device, self.dtype, "none")
        return best_format(self.vlm_config, self.room, quantise)

    @cached_property
    def vlm_dtype(self) -> "torch.dtype":
        """The number format in which the VLM calculates."""
        from engine.core.device import pick_dtype

        if self.setting("dtype").value != "auto":
            return self.dtype
        return pick_dtype(self.room.plain_format(self.vlm_config), self.device)

    def _find(self, setting: Setting, find: Callable[[str], _Found]) -> _Found:
        """Find what the value of a setting stands for; an error about a value of `config.toml` names the file."""
        try:
            return find(str(setting.value))
        except UsageError as err:
            raise name_the_file(self.folder, setting, err) from err

    @cached_property
    def vlms_on_disk(self) -> tuple[VlmConfig, ...]:
        """The VLMs for real photos on this disk, whether they fit or not."""
        return vlms_on_disk()

    @cached_property
    def gpu_gb(self) -> float:
        """GB of memory of the GPU in use; 0.0 where models run on the CPU."""
        if not self.uses_cuda:
            return 0.0
        from engine.core.device import gpu_memory_gb

        return gpu_memory_gb()

    @cached_property
    def room(self) -> Room:
        """The memory for a VLM on the device in use; torch is only asked where there may be a GPU."""
        return _make_room(self.gpu_gb, uses_mps=self.uses_mps)

    @property
    def uses_mps(self) -> bool:
        """Whether models run on Apple's GPU."""
        if self.setting("device").value == "cpu" or not is_apple_silicon():
            return False
        return self.device.type == "mps"

    @property
    def uses_cuda(self) -> bool:
        """Whether models run on a CUDA GPU; torch, which takes seconds to load, is only asked where there is one."""
        if self.setting("device").value in ("auto", "cpu") and not has_nvidia_gpu():
            return False
        return self.device.type == "cuda"

    @property
    def has_vlm(self) -> bool:
        """Whether there is a VLM; without one photos get names only."""
        return self.vlm_setting.value != NO_VLM

    @property
    def why_no_vlm(self) -> str:
        """Why there is no VLM although nobody asked for none, in a clause; "" where there is one, or somebody did."""
        if self.has_vlm or self.vlm_setting.origin is not Origin.BUILT_IN:
            return ""
        if not self.vlms_on_disk:
            return "no VLM for real photos is on this machine"
        return "; ".join(lack_of_memory(c, self.room) for c in self.vlms_on_disk)

    def check_has_vlm(self) -> None:
        """Check that there is a VLM, for what names alone cannot do.

        Raises:
            UsageError: `--vlm none` asks for none.
            NoVlmError: `config.toml` asks for none, or none on this disk fits this machine.
        """
        if self.why_no_vlm:
            raise NoVlmError(f"this needs a VLM: {self.why_no_vlm}", hint=HOW_TO_GET_A_VLM)
        if not self.has_vlm and self.vlm_setting.origin is Origin.OPTION:
            raise UsageError("this needs a VLM, and --vlm none asks for none", hint="Leave out --vlm none.")
        if not self.has_vlm:
            raise NoVlmError(
                f"this needs a VLM, and {config_path(self.folder)} asks for none",
                hint="Run: myvlm config unset vlm, or name a VLM with --vlm",
            )

    def check_trains(self) -> None:
        """Check that there is a VLM that can learn concepts.

        Raises:
            UsageError, NoVlmError: those of `check_has_vlm`; or the VLM runs in a server.
        """
        self.check_has_vlm()
        if self.vlm_config.server is not None:
            raise UsageError(
                f"train needs the VLM's weights on this machine, and {self.vlm_config.name} runs in a server",
                hint="Use a VLM on this disk: --vlm NAME. A server is told of concepts by their names, untrained.",
            )

    def check_weights(self) -> None:
        """Check that the VLM's weights are on this disk, or that its server is there.

        Raises:
            WeightsMissingError: they are not; the message says whether `config.toml` names the VLM.
            UsageError, EnvironmentFault: those of `registry.connect_vlm`.
        """
        try:
            check_vlm(self.vlm_config)
        except WeightsMissingError as err:
            if self.vlm_setting.origin is not Origin.CONFIG:
                raise
            raise WeightsMissingError(
                f"{err}, and {config_path(self.folder)} chooses it",
                hint=f"{err.hint}   Without it: myvlm config unset vlm",
            ) from err


def usual_room() -> Room:
    """Return the memory for a VLM where nobody chose a device; torch is only asked where there may be a GPU."""
    if not has_nvidia_gpu() and not is_apple_silicon():
        return _make_room(0.0, uses_mps=False)
    from engine.core.device import gpu_memory_gb, has_mps

    return _make_room(gpu_memory_gb(), uses_mps=has_mps())


def _make_room(gpu_gb: float, *, uses_mps: bool) -> Room:
    """Return the memory of a CUDA GPU, or of the machine where there is none."""
    if gpu_gb:
        from engine.core.device import cuda_has_bfloat16

        return Room("cuda", gpu_gb, cuda_has_bfloat16(), formats_installed("cuda"))
    kind = "mps" if uses_mps else "cpu"
    return Room(kind, machine_memory_gb(), kind == "cpu" and has_bfloat16(), formats_installed(kind))
