from contextlib import suppress

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from gsvnet_engine.onnx_wire import has_external_data
from tests import toy_bundle


def external(name: str = "w") -> TensorProto:
    tensor = numpy_helper.from_array(np.zeros(2, np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")
    return tensor


def model(
    nodes: list[onnx.NodeProto], tensors: list[TensorProto], functions: list[onnx.FunctionProto]
) -> bytes:
    graph = helper.make_graph(nodes, "g", [], [], tensors)
    data: bytes = helper.make_model(graph, functions=functions).SerializeToString()
    return data


def branch(tensors: list[TensorProto]) -> onnx.NodeProto:
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["b"], value=t) for t in tensors], "inner", [], []
    )
    return helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)


class TestExternalData:
    @pytest.mark.parametrize("name", list(toy_bundle.models()))
    def test_self_contained_graphs_pass(self, name: str) -> None:
        assert not has_external_data(toy_bundle.models()[name].SerializeToString())

    def test_a_node_named_location_is_no_offence(self) -> None:
        assert not has_external_data(
            model([helper.make_node("Relu", ["location"], ["external_data"])], [], [])
        )

    @pytest.mark.parametrize(
        "data",
        [
            model([], [external()], []),
            model([helper.make_node("Constant", [], ["c"], value=external())], [], []),
            model([branch([external()])], [], []),
            model([branch([numpy_helper.from_array(np.zeros(1)), external()])], [], []),
            model(
                [],
                [],
                [
                    helper.make_function(
                        "gsvnet",
                        "F",
                        [],
                        ["c"],
                        [helper.make_node("Constant", [], ["c"], value=external())],
                        [helper.make_opsetid("", 17)],
                    )
                ],
            ),
        ],
        ids=["initializer", "constant", "branch", "second in branch", "function"],
    )
    def test_found_wherever_a_tensor_can_stand(self, data: bytes) -> None:
        assert has_external_data(data)

    @given(st.binary(max_size=200))
    def test_any_bytes_give_an_answer_or_a_value_error(self, data: bytes) -> None:
        with suppress(ValueError):
            has_external_data(data)
