"""Write ONNX graphs: nodes and weights, stored small and restored when the file is loaded."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
"""The newest operator set that the oldest supported onnxruntime (1.20) and its CUDA provider run whole."""
IR_VERSION = 8
"""The file format of that operator set."""
_SMALL = 2048
"""Weights of fewer numbers are stored as they are: they are biases and constants."""
_MIDDLE = 100_000
"""Weights of fewer numbers are stored in half precision at least: they are few, and the first layers' errors grow."""
_GROUP = 32
"""Numbers that share a scale in int8."""
_LEVELS = 127
"""The largest int8 that is used."""


Attribute = int | float | str | Sequence[int]
"""A setting of a node."""


class Storage(StrEnum):
    """How large weights are stored. onnxruntime computes with 4-byte floats in each case, restored as it loads."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    INT8 = "int8"


class GraphBuilder:
    """Collects the nodes and weights of a graph; values are named by the order in which they are made."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: dict[str, onnx.ValueInfoProto] = {}

    def input(self, name: str, shape: Sequence[int | str]) -> str:
        """Add a float32 input; text in its shape names a dimension that may vary."""
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def output(self, value: str, name: str, shape: Sequence[int | str]) -> None:
        """Make a value a float32 output."""
        self._nodes.append(helper.make_node("Identity", [value], [name], name=f"output_{name}"))
        self._outputs[name] = helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    def node(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Attribute) -> str:
        """Add a node; return the name of its first output, which `_1` follows in the name of its second."""
        name = f"{operator.lower()}{len(self._nodes)}"
        names = [name, *(f"{name}_{i}" for i in range(1, outputs))]
        node = helper.make_node(operator, inputs, names, name=f"node_{name}")
        node.attribute.extend(helper.make_attribute(k, v) for k, v in sorted(attributes.items()))
        self._nodes.append(node)
        return name

    def slice(self, value: str, axis: int, start: int, end: int) -> str:
        """Add a node that takes a part of an axis."""
        return self.node("Slice", value, *(self.constant([i]) for i in (start, end, axis)))

    def constant(self, value: np.ndarray | Sequence[int] | Sequence[float]) -> str:
        """Add a constant as it is: int64 if it holds integers, else float32."""
        array = np.asarray(value)
        return self._store(array.astype(np.int64 if array.dtype.kind == "i" else np.float32))

    def weight(self, value: np.ndarray) -> str:
        """Add a weight whose first axis counts output channels, stored as `storage` says."""
        if value.size < _SMALL or self._storage is Storage.FLOAT32:
            return self.constant(value)
        if self._storage is Storage.FLOAT16 or value.size < _MIDDLE or value[0].size % _GROUP:
            return self.node("Cast", self._store(value.astype(np.float16)), to=TensorProto.FLOAT)
        whole, scale = quantise(value.reshape(-1, _GROUP))
        restored = self.node("Mul", self.node("Cast", self._store(whole), to=TensorProto.FLOAT), self._store(scale))
        return self.node("Reshape", restored, self.constant(value.shape))

    def save(self, path: Path, order: Sequence[str]) -> None:
        """Check the graph and write it, with its outputs in that order. The same graph gives the same bytes."""
        outputs = [self._outputs[name] for name in order]
        graph = helper.make_graph(self._nodes, path.stem, self._inputs, outputs, self._weights)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="myvlm")
        onnx.checker.check_model(model, full_check=True)
        path.write_bytes(model.SerializeToString(deterministic=True))

    def _store(self, array: np.ndarray) -> str:
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name


def quantise(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows (R, G) as int8 and the scale (R, 1) of each, which makes its largest number the largest int8."""
    scale = np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-12) / _LEVELS
    return np.round(rows / scale).astype(np.int8), scale.astype(np.float32)
