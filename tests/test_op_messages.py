"""TensorFlow's messages about an input, as they come with and without the names of the functions that they are from."""

import pytest

from kerastl.inputs.op_messages import asserted, op_reason

PLACE = "{{function_node __inference_serve_12}} "
EAGER = "Graph execution error:\n\nDetected at node Assert defined at:\n<stack traces unavailable>\n"
NODES = "\n\t [[{{node Assert/Assert}}]]\n\t [[StatefulPartitionedCall]]"


@pytest.mark.parametrize("start", ["", PLACE, PLACE * 3, EAGER, EAGER + PLACE])
@pytest.mark.parametrize("quoted", ["the file is empty", "'the file is empty'", "b'the file is empty'"])
def test_what_a_graph_asserts_is_the_reason(start: str, quoted: str) -> None:
    assert asserted(f"{start}assertion failed: [{quoted}]{NODES}") == "the file is empty"


@pytest.mark.parametrize("message", ["", "Invalid PNG data", "indices[0] = 7: assertion failed: [of another]"])
def test_another_message_asserts_nothing(message: str) -> None:
    assert asserted(message) is None


@pytest.mark.parametrize(("message", "reason"), [
    (f"{PLACE}Invalid PNG data, size 12{NODES} [Op:__inference_1]",
     "the PNG file is damaged or incomplete; restore it from the original"),
    (f"{PLACE}something else{NODES}", "something else"),
    (f"Graph execution error:\n\nDetected at node x\n{NODES}", ""),
])
def test_a_failed_operation_is_told_in_words(message: str, reason: str) -> None:
    assert op_reason(message) == reason
