"""Read the layers of a network that dlib serialised, `dlib_face_recognition_resnet_model_v1.dat` above all.

dlib writes each layer as its name, the tensor of its parameters and its settings, from the input to the output.
Integers are a byte that holds how many bytes follow (low four bits) and the sign (highest bit), then those bytes, the
lowest first; text is its length and its characters; a tensor is a version, its four dimensions and 4-byte floats
(dlib/serialize.h, dlib/cuda/tensor.h). Layers without parameters are skipped by looking for the next name.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.core.errors import ArtefactError

_NAMES = re.compile(rb"\x01\x05con_4|\x01\x07affine_|\x01\x04fc_2")
"""Layers with parameters: the length of the name (an integer of one byte) and the name."""
_TENSOR_VERSION = 2


@dataclass(frozen=True)
class Convolution:
    """A convolution. weight: (O, I, kh, kw), bias: (O,) float32; stride and padding in pixels, on both axes."""

    weight: np.ndarray
    bias: np.ndarray
    stride: int
    padding: int


@dataclass(frozen=True)
class Affine:
    """A scale and an offset for each channel, what is left of batch normalisation: (C,) float32 each."""

    scale: np.ndarray
    offset: np.ndarray


@dataclass(frozen=True)
class Linear:
    """A fully connected layer without a bias. weight: (I, O) float32."""

    weight: np.ndarray


Layer = Convolution | Affine | Linear


class _Reader:
    """A position in the bytes of a file."""

    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 0

    def integer(self) -> int:
        head = self.data[self.position]
        size = head & 0x0F
        value = int.from_bytes(self.data[self.position + 1 : self.position + 1 + size], "little")
        self.position += 1 + size
        return -value if head & 0x80 else value

    def tensor(self) -> np.ndarray:
        """Return the numbers of a tensor, flat."""
        version, *shape = (self.integer() for _ in range(5))
        count = int(np.prod(shape))
        if version != _TENSOR_VERSION or self.position + 4 * count > len(self.data):
            raise ValueError(f"a tensor of version {version} and shape {shape}")
        values = np.frombuffer(self.data, "<f4", count, self.position)
        self.position += 4 * count
        return values


def read_layers(path: Path) -> list[Layer]:
    """Return the layers with parameters, from the input to the output.

    Raises:
        ArtefactError: it is not such a file, or of another version of dlib.
    """
    reader, layers, channels = _Reader(path.read_bytes()), list[Layer](), 3
    try:
        while found := _NAMES.search(reader.data, reader.position):
            reader.position = found.end()
            layer = _read_layer(reader, found.group()[2:], channels)
            channels = len(layer.bias) if isinstance(layer, Convolution) else channels
            layers.append(layer)
    except (ValueError, IndexError) as err:
        raise ArtefactError(f"{path} cannot be read: {err}", hint="Is it a network that dlib wrote?") from err
    if not layers:
        raise ArtefactError(f"{path} holds no layers", hint="Is it a network that dlib wrote?")
    return layers


def _read_layer(reader: _Reader, name: bytes, channels: int) -> Layer:
    """Read the layer of that name, which follows; `channels` are those that come in."""
    if name == b"fc_2":
        outputs, inputs = reader.integer(), reader.integer()
        return Linear(reader.tensor().reshape(inputs, outputs))
    values = reader.tensor()
    if name == b"affine_":
        return Affine(*np.split(values, 2))
    filters, rows, columns, stride, _, padding, _ = (reader.integer() for _ in range(7))
    weight = values[:-filters].reshape(filters, channels, rows, columns)
    return Convolution(weight, values[-filters:], stride, padding)
