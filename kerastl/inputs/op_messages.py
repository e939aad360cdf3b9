"""Why an operation of a graph failed on an input, in words, out of TensorFlow's messages."""

import re

import tensorflow as tf

FUNCTION = r"\{\{function_node [^}]*\}\} "  # where a message was made, which it may begin with
DAMAGED = (  # what TensorFlow's messages begin with, and the format of the file
    ("jpeg::Uncompress", "JPEG"), ("Invalid JPEG", "JPEG"), ("Invalid PNG", "PNG"), ("Invalid GIF", "GIF"),
    ("PNG size too large", "PNG"), ("Failed to decode WebP", "WebP"), ("Number of channels requested", "WebP"),
    ("Input size should match", "BMP"), ("Incomplete bmp", "BMP"), ("Size of bmp", "BMP"), ("header size must", "BMP"),
    ("Number of channels inherent", "BMP"))


def asserted(message: str) -> str | None:
    """What a graph asserts of an input; None for another message."""
    found = re.search(rf"^(?:{FUNCTION})*assertion failed: \[(.*?)\]", message, re.DOTALL | re.MULTILINE)
    return found[1].strip("'\"b") if found else None


def undecoded(error: tf.errors.OpError) -> str:
    """Why an input could not be decoded, by the error of the operation that failed."""
    return f"could not be decoded: {op_reason(str(error.message)) or type(error).__name__}"


def op_reason(message: str) -> str:
    """The message of a failed operation, in words where the meaning is known, and without TensorFlow's description of
    its place in the graph; empty where it says nothing else."""
    lines = (re.sub(r"\{\{.*?\}\}|\[Op:.*", "", line).strip() for line in message.splitlines())
    messages = [line for line in lines if line and not line.startswith(
        ("Graph execution", "Detected at", "<stack", "[[", 'File "'))]
    name = next((name for start, name in DAMAGED if any(start in line for line in messages)), None)
    if name is not None:
        return f"the {name} file is damaged or incomplete; restore it from the original"
    return next(iter(messages), "")[:160]
