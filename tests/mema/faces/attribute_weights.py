"""Weights of the names, shapes and layout that DeepFace and InsightFace expect, made here: they read colours.

To both an age is 100 x the mean brightness of the face, and a face that is more red than blue is female. InsightFace's
detector takes bright places for faces.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, save

DEEPFACE = "deepface/.deepface/weights"
BUFFALO = "insightface/models/buffalo_l"
# What det_10g.onnx calls its outputs: scores, boxes and landmarks at the strides 8, 16, 32.
OUTPUTS = (("448", "471", "494"), ("451", "474", "497"), ("454", "477", "500"))
HALF_BOX = 16


def write_attribute_weights(folder: Path) -> Path:
    """Write all four graphs below ``folder``, a folder for ``MEMA_WEIGHTS``, and return it."""
    (folder / DEEPFACE).mkdir(parents=True)
    (folder / BUFFALO).mkdir(parents=True)
    save(_deepface_age(), folder / DEEPFACE / "age_model_weights.onnx")
    save(_deepface_gender(), folder / DEEPFACE / "gender_model_weights.onnx")
    save(_detector(), folder / BUFFALO / "det_10g.onnx")
    save(_genderage(), folder / BUFFALO / "genderage.onnx")
    return folder


def _deepface_age() -> ModelProto:
    """(n, 224, 224, 3) BGR in [0, 1] -> (n, 101): a narrow distribution about 100 x the mean."""
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "last"], ["column"]),
        helper.make_node("Mul", ["column", "hundred"], ["centre"]),
        helper.make_node("Sub", ["years", "centre"], ["distance"]),
        helper.make_node("Mul", ["distance", "distance"], ["squared"]),
        helper.make_node("Mul", ["squared", "narrow"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["output"], axis=1),
    ]
    constants = {
        "last": np.array([1]),
        "hundred": np.float32(100),
        "years": np.arange(101, dtype=np.float32)[None],
        "narrow": np.float32(-0.125),
    }
    return model_of(nodes, constants, ("input", ["n", 224, 224, 3]), [("output", ["n", 101])])


def _deepface_gender() -> ModelProto:
    """(n, 224, 224, 3) BGR in [0, 1] -> (n, 2): Woman, Man."""
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["colour"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["colour", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["output"], axis=1),
    ]
    weights = np.array([[-50, 50], [0, 0], [50, -50]], np.float32)
    return model_of(nodes, {"weights": weights}, ("input", ["n", 224, 224, 3]), [("output", ["n", 2])])


def _detector() -> ModelProto:
    """(1, 3, h, w) in [-1, 1] -> nine tables, two anchors a place; only stride 8 ever sees a face."""
    nodes, constants, outputs = [], {}, []
    for place, stride in enumerate((8, 16, 32)):
        nodes.append(
            helper.make_node(
                "AveragePool", ["input.1"], [f"pool{stride}"], kernel_shape=[stride] * 2, strides=[stride] * 2
            )
        )
        slope, threshold = (20.0, -10.0) if stride == 8 else (0.0, -10.0)
        tables = {
            1: (np.full((2, 3), slope / 3), np.full(2, threshold)),
            4: (np.zeros((8, 3)), np.full(8, HALF_BOX / stride)),
            10: (np.zeros((20, 3)), np.zeros(20)),
        }
        for width, (weights, bias) in tables.items():
            name = f"{width}of{stride}"
            output = OUTPUTS[(1, 4, 10).index(width)][place]
            constants |= {
                f"w{name}": weights.astype(np.float32)[..., None, None],
                f"b{name}": bias.astype(np.float32),
                f"shape{name}": np.array([-1, width]),
            }
            nodes += [
                helper.make_node("Conv", [f"pool{stride}", f"w{name}", f"b{name}"], [f"conv{name}"]),
                helper.make_node("Transpose", [f"conv{name}"], [f"last{name}"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"last{name}", f"shape{name}"], [output if width > 1 else f"raw{name}"]),
            ]
            if width == 1:
                nodes.append(helper.make_node("Sigmoid", [f"raw{name}"], [output]))
    for names, width in zip(OUTPUTS, (1, 4, 10), strict=True):
        outputs += [(name, [f"places{name}", width]) for name in names]
    return model_of(nodes, constants, ("input.1", [1, 3, "?", "?"]), outputs)


def _genderage() -> ModelProto:
    """(n, 3, 96, 96) RGB in [0, 255], scaled inside as MXNet's exports do, -> (1, 3): female, male, age / 100."""
    nodes = [
        helper.make_node("Sub", ["data", "middle"], ["centred"], name="_minusscalar0"),
        helper.make_node("Mul", ["centred", "scale"], ["scaled"], name="_mulscalar0"),
        helper.make_node("GlobalAveragePool", ["scaled"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["colour"]),
        helper.make_node("Gemm", ["colour", "weights", "bias"], ["fc1"]),
    ]
    brightness = 0.5 / 3
    constants = {
        "middle": np.float32(127.5),
        "scale": np.float32(1 / 127.5),
        "weights": np.array([[1, -1, brightness], [0, 0, brightness], [-1, 1, brightness]], np.float32),
        "bias": np.array([0, 0, 0.5], np.float32),
    }
    return model_of(nodes, constants, ("data", ["None", 3, 96, 96]), [("fc1", [1, 3])])


Shape = list[int | str]


def model_of(
    nodes: list[NodeProto],
    constants: dict[str, np.ndarray | np.generic],
    given: tuple[str, Shape],
    outputs: list[tuple[str, Shape]],
) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "made-for-tests",
        [helper.make_tensor_value_info(given[0], TensorProto.FLOAT, given[1])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
