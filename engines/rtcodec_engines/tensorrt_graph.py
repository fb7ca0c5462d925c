"""
A model's graphs as TensorRT takes them: its parser, shapes and settings, in one place.

Written for `tensorrt` (10.13 to 11) and `tensorrt_rtx`, which has the same interface and builds
without a GPU: with it the tests ask whether the graphs are acceptable.
"""

from types import ModuleType
from typing import Any, Final

from rtcodec.bundle import Bundle
from rtcodec.errors import EngineError
from rtcodec_engines.batching import BUCKETS

LARGEST_PLACES: Final = (68, 120)
"Rows and columns of 16x16 blocks that engines are built for: 1080p. What is larger runs in torch."

_USUAL_PLACES: Final = (48, 80)  # 720p
_LEAST_PLACES: Final = (4, 4)
_USUAL_BATCH: Final = 4
_WORKSPACE_BYTES: Final = 4 << 30

SETTINGS: Final = {
    "batch": [BUCKETS[0], _USUAL_BATCH, BUCKETS[-1]],
    "places": [list(_LEAST_PLACES), list(_USUAL_PLACES), list(LARGEST_PLACES)],
    "workspace_bytes": _WORKSPACE_BYTES,
    "tf32": False,
    "rewriting": 1,
}
"What a plan depends on beside the model, the library and the GPU; goes into its key."


def accepted_graph(bundle: Bundle, graph: str) -> bytes:
    """
    The ONNX graph without what TensorRT refuses.

    Its parser takes no `DequantizeLinear` of bytes; those that turn samples into floats are casts.
    """
    content = bundle.read_graph(graph)
    try:
        import onnx
    except ModuleNotFoundError:
        raise EngineError("to build engines takes onnx: pip install 'rtcodec[tensorrt]'") from None
    model = onnx.load_from_string(content)
    inputs = {one.name for one in model.graph.input}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in inputs:
            of_input = node.input[
                0
            ]  # scale 1, zero point 0: `rtcodec.models.graph` writes no other
            del node.input[:]
            node.op_type = "Cast"
            node.input.append(of_input)
            node.attribute.append(onnx.helper.make_attribute("to", onnx.TensorProto.FLOAT))
    serialized: bytes = model.SerializeToString()
    return serialized


def build_plan(trt: ModuleType, content: bytes) -> bytes:
    """
    Build a graph for batches of any size that there is.

    Args:
        trt: `tensorrt` or `tensorrt_rtx`.
        content: ONNX, from `accepted_graph`.

    Raises:
        EngineError: If it is refused.
    """
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    # Types come from the graph alone; from TensorRT 11 on there is nothing else.
    typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(content):
        errors = [parser.get_error(i).desc() for i in range(parser.num_errors)]
        raise EngineError(f"TensorRT refuses the graph: {'; '.join(errors)[:300]}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
    if hasattr(trt.BuilderFlag, "TF32"):
        config.clear_flag(trt.BuilderFlag.TF32)
    profile = builder.create_optimization_profile()
    for i in range(network.num_inputs):
        tensor = network.get_input(i)
        profile.set_shape(tensor.name, *(_shape(tensor, k) for k in range(3)))
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError("TensorRT builds nothing of the graph")
    return bytes(plan)


def _shape(tensor: Any, which: int) -> tuple[int, ...]:
    """The least, usual or largest shape of an input."""
    batch = (BUCKETS[0], _USUAL_BATCH, BUCKETS[-1])[which]
    h, w = (_LEAST_PLACES, _USUAL_PLACES, LARGEST_PLACES)[which]
    if tensor.name == "gains":
        return batch, tensor.shape[1]
    if tensor.name == "z":
        return batch, tensor.shape[1], h // 4, w // 4
    return batch, h, w, tensor.shape[3]
