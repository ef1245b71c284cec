"""Write dlib's face recogniser as ONNX: aligned faces as insightface crops them, to descriptors of 128 numbers.

The network is `anet_type` of dlib's examples/dnn_face_recognition_ex.cpp, a ResNet with 29 convolutions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from engine.vision.build.dlib_file import Affine, Convolution, Layer, Linear
from engine.vision.build.onnx_graph import GraphBuilder, Storage

CHIP = 150
"""Side in pixels of the faces that dlib's recogniser sees."""
WIDTH = 128
"""Numbers of a descriptor."""
_PADDING = 0.25
"""Room around the face in a chip, in sides of the face (dlib's `get_face_chip_details(shape, 150, 0.25)`)."""
_DLIB_POINTS = ((0.2264, 0.2187), (0.7538, 0.2187), (0.4901, 0.5156), (0.2541, 0.7802), (0.7261, 0.7802))
"""Where dlib's chips have the middles of the eyes, the tip of the nose and the corners of the mouth, in sides of the
face: means over the landmarks of dlib/image_transforms/interpolation.h, with the left side of the picture first.
"""
_ARCFACE_POINTS = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
"""Where ArcFace's crops of 112 pixels have them (insightface.utils.face_align.arcface_dst)."""
_ARCFACE_SIDE = 112
_PIXEL_MEAN = (122.782, 117.001, 104.298)
_PIXEL_SCALE = 256.0
"""What dlib's `input_rgb_image_sized` subtracts from red, green and blue, 0..255, and then divides by."""
_STAGES = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))
"""Channels, residual blocks, and whether the first one halves the picture: alevel4 to alevel0 of the example."""


def chip_matrices(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return matrices (150, side): chip = rows @ crop @ columns.T, from an ArcFace crop of that side to dlib's chip.

    They interpolate linearly at the positions that the least-squares scale and shift between the two sets of points
    gives; the rotation between them is 0.2 degrees and left out. Where a chip is coarser than the crop, a pixel is the
    mean over its width.
    """
    chip = (np.array(_DLIB_POINTS) + _PADDING) / (1 + 2 * _PADDING) * CHIP
    crop = np.array(_ARCFACE_POINTS) * side / _ARCFACE_SIDE
    a, b = chip - chip.mean(axis=0), crop - crop.mean(axis=0)
    scale = float((a * b).sum() / (a * a).sum())  # crop pixels for one of the chip
    shift = crop.mean(axis=0) - scale * chip.mean(axis=0)
    columns, rows = (_interpolation(scale * np.arange(CHIP) + offset, side, scale) for offset in shift)
    return rows, columns


def _interpolation(positions: np.ndarray, side: int, scale: float) -> np.ndarray:
    """Return the matrix (P, side) that reads a row of pixels at some positions; beyond the edge it repeats the edge."""
    reach = max(1.0, scale)
    near = np.clip(positions, 0, side - 1)[:, None] - np.arange(side)[None]
    weights = np.maximum(0.0, 1.0 - np.abs(near) / reach)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def write_recogniser(
    path: Path, layers: list[Layer], minus_mean: np.ndarray, *, side: int = _ARCFACE_SIDE, storage: Storage
) -> None:
    """Write the recogniser: pixels (N, 3, side, side) RGB, (x - 127.5) / 127.5, to descriptors (N, 128).

    minus_mean: (128,), added to dlib's descriptor; without it all faces look alike (cosines of .8 to 1).
    """
    graph = GraphBuilder(storage)
    chips = _chips(graph, graph.input("face", ("batch", 3, side, side)), side)
    found = graph.node("Add", add_network(graph, chips, layers), graph.constant(minus_mean[None]))
    graph.output(found, "descriptor", ("batch", WIDTH))
    graph.save(path, ["descriptor"])


def _chips(graph: GraphBuilder, faces: str, side: int) -> str:
    """Add the nodes from crops, as insightface normalises them, to chips (N, 3, 150, 150) as dlib does."""
    rows, columns = chip_matrices(side)
    tall = graph.node("MatMul", graph.constant(rows), faces)
    chips = graph.node("MatMul", tall, graph.constant(columns.T))
    offset = (127.5 - np.array(_PIXEL_MEAN)).reshape(1, 3, 1, 1) / _PIXEL_SCALE
    scaled = graph.node("Mul", chips, graph.constant(np.full((1, 1, 1, 1), 127.5 / _PIXEL_SCALE)))
    return graph.node("Add", scaled, graph.constant(offset))


@dataclass(frozen=True)
class _Picture:
    """A value of the graph (N, channels, side, side)."""

    name: str
    channels: int
    side: int


def add_network(graph: GraphBuilder, chips: str, layers: list[Layer]) -> str:
    """Add the network from chips, as dlib normalises them, to dlib's own descriptors (N, 128); return their name."""
    convolutions = _fold(layers)
    x = _convolve(graph, _Picture(chips, 3, CHIP), next(convolutions))
    pooled = graph.node("MaxPool", graph.node("Relu", x.name), kernel_shape=[3, 3], strides=[2, 2])
    x = _Picture(pooled, x.channels, (x.side - 3) // 2 + 1)
    for channels, blocks, halves in _STAGES:
        for block in range(blocks):
            x = _residual(graph, x, convolutions, halves=halves and block == 0)
        if x.channels != channels:
            raise ValueError(f"{x.channels} channels where {channels} are expected")
    mean = graph.node("Flatten", graph.node("GlobalAveragePool", x.name))
    last = layers[-1]
    if not isinstance(last, Linear):
        raise ValueError("the last layer is not fully connected")
    return graph.node("Gemm", mean, graph.weight(last.weight.T), transB=1)


def _fold(layers: list[Layer]) -> Iterator[Convolution]:
    """Yield the convolutions, each with the scale and offset that follow it folded in."""
    for convolution, affine in pairwise(layers):
        if isinstance(convolution, Convolution) and isinstance(affine, Affine):
            weight = convolution.weight * affine.scale[:, None, None, None]
            bias = convolution.bias * affine.scale + affine.offset
            yield Convolution(weight, bias, convolution.stride, convolution.padding)


def _convolve(graph: GraphBuilder, x: _Picture, layer: Convolution) -> _Picture:
    channels, _, size, _ = layer.weight.shape
    side = (x.side + 2 * layer.padding - size) // layer.stride + 1
    inputs = x.name, graph.weight(layer.weight), graph.constant(layer.bias)
    strides, pads = [layer.stride] * 2, [layer.padding] * 4
    name = graph.node("Conv", *inputs, strides=strides, pads=pads, kernel_shape=[size] * 2)
    return _Picture(name, channels, side)


def _residual(graph: GraphBuilder, x: _Picture, convolutions: Iterator[Convolution], *, halves: bool) -> _Picture:
    """Add a residual block; a shortcut that halves the picture is a mean of 2x2 pixels."""
    first = _convolve(graph, x, next(convolutions))
    second = _convolve(graph, _Picture(graph.node("Relu", first.name), first.channels, first.side), next(convolutions))
    if halves:
        mean = graph.node("AveragePool", x.name, kernel_shape=[2, 2], strides=[2, 2])
        x = _Picture(mean, x.channels, (x.side - 2) // 2 + 1)
    channels, side = max(x.channels, second.channels), max(x.side, second.side)
    total = graph.node("Add", *(_pad(graph, part, channels, side) for part in (second, x)))
    return _Picture(graph.node("Relu", total), channels, side)


def _pad(graph: GraphBuilder, x: _Picture, channels: int, side: int) -> str:
    """Add zeros behind the channels and at the right and the bottom, as dlib's `add_prev` does."""
    if (x.channels, x.side) == (channels, side):
        return x.name
    ends = [0, 0, 0, 0, 0, channels - x.channels, side - x.side, side - x.side]
    return graph.node("Pad", x.name, graph.constant(ends))
