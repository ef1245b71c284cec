"""Load weights in 8 or 4 bits: bitsandbytes on CUDA, torchao's weights-only formats elsewhere.

Concept embeddings are trained through quantised layers, so a format is only used where a gradient passes through it.
torchao's *dynamic* formats also quantise the activations and let none pass, without a word: they are never used.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

from engine.core.errors import EnvironmentFault
from engine.vlms.config import VlmConfig

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

PACKAGES = {
    ("cuda", "int8"): "bitsandbytes",
    ("cuda", "nf4"): "bitsandbytes",
    ("cpu", "int8"): "torchao",
    ("cpu", "nf4"): "bitsandbytes",
    ("mps", "int8"): "torchao",
    ("mps", "int4"): "torchao",
}
"""The package that loads a format on a kind of device. On a CPU int4 is bitsandbytes' nf4: torchao's int4 keeps each
weight in a byte there, and saves nothing over int8."""
_LOADER = "accelerate"
"""The package with which transformers loads quantised weights straight onto a device."""
INSTALL = "Run: pip install 'myvlm[quantise]', or use --quantise none"
_GROUP = 32
"""Weights that share a scale in torchao's int4; without groups a scale would hold for a whole row."""


def formats_installed(device_type: str) -> tuple[str, ...]:
    """List the formats of quantised weights that can be loaded on a kind of device, the least loss first."""
    return tuple(f for (kind, f), package in PACKAGES.items() if kind == device_type and _is_installed(package))


def _is_installed(package: str) -> bool:
    return find_spec(package) is not None and find_spec(_LOADER) is not None


def quantise_option(precision: str) -> str:
    """Return what `--quantise` calls a number format: "int8", "int4", or "none" for one that is not quantised."""
    return {"int8": "int8", "nf4": "int4", "int4": "int4"}.get(precision, "none")


def load_options(config: VlmConfig, device: "torch.device", dtype: "torch.dtype", quantise: str) -> dict[str, Any]:
    """Return the arguments of `from_pretrained` that load a VLM with quantised weights; {} for "none".

    A checkpoint that is quantised already brings its own settings, and is only loaded straight onto the device. The
    output layer stays as it is. Call `prepare` on the model afterwards.

    quantise: "none", "int8" or "int4".

    Raises:
        EnvironmentFault: the package that loads the format is not installed, or there is none for the device.
    """
    if config.size and config.size.quantised_gb is not None:
        if find_spec(_LOADER) is None:
            raise EnvironmentFault(
                f"to load {config.name}, the package {_LOADER} is needed", hint="Run: pip install 'myvlm[quantise]'"
            )
        return {"device_map": {"": device}}
    if quantise == "none":
        return {}
    precision = "int8" if quantise == "int8" else "int4" if device.type == "mps" else "nf4"
    check_installed(config.name, device.type, precision)
    if PACKAGES[device.type, precision] == "torchao":
        settings = _torchao_settings(precision)
    else:
        settings = _bitsandbytes_settings(precision, dtype)
    return {"quantization_config": settings, "device_map": {"": device}}


def check_installed(name: str, device_type: str, precision: str) -> None:
    """Check that the package is installed that loads a format on a kind of device.

    Raises:
        EnvironmentFault: it is not, or there is none.
    """
    package = PACKAGES.get((device_type, precision))
    if package is None:
        raise EnvironmentFault(f"{name} cannot be loaded in {precision} on {device_type}", hint="Use --quantise none.")
    if not _is_installed(package):
        raise EnvironmentFault(f"to load {name} in {precision}, the package {package} is needed", hint=INSTALL)


def _bitsandbytes_settings(precision: str, dtype: "torch.dtype") -> Any:
    """Return bitsandbytes' settings: int8 (Dettmers et al. 2022), or nf4 with double quantisation (2023)."""
    from transformers import BitsAndBytesConfig

    if precision == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def _torchao_settings(precision: str) -> Any:
    """Return torchao's settings for weights only; the activations stay in floating point."""
    import torch
    from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig, PerGroup
    from transformers import TorchAoConfig

    if precision == "int8":
        return TorchAoConfig(Int8WeightOnlyConfig())
    bits: torch.dtype = torch.int4  # type: ignore[attr-defined]
    return TorchAoConfig(IntxWeightOnlyConfig(weight_dtype=bits, granularity=PerGroup(_GROUP)))


def prepare(model: "PreTrainedModel") -> "PreTrainedModel":
    """Make a model ready for training through its layers; call it after `eval()`, which would undo it.

    bitsandbytes packs 4-bit weights for CPUs with AVX512-BF16 at the first pass in evaluation mode, and lets no
    gradient through them afterwards (0.50.2). Layers in training mode are not packed, and compute the same.
    """
    for part in cast("torch.nn.Module", model).modules():
        if type(part).__name__ == "Linear4bit":
            part.train()
    return model
