"""TensorFlow's warnings of functions that are traced again, where each is another function."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

OURS = ("TensorFlowTrainer", "Predictor")  # of Keras, and `model.Predictor`


@contextmanager
def counted_as_new() -> Iterator[None]:
    """Within, TensorFlow does not warn of Keras' training function, or a predictor's, being traced again. It counts
    traces by the line of the source, so that the fifth head that is trained for a few steps, as in cross-validation,
    looks to it like one function that was traced five times; each is traced once."""
    logger = logging.getLogger("tensorflow")

    def keep(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        return not ("triggered tf.function retracing" in message and any(name in message for name in OURS))

    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)
