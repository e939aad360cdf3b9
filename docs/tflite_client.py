"""Classifies an image with a TFLite file, using LiteRT and Pillow only: no TensorFlow, no kerastl.

python docs/tflite_client.py MODEL.tflite labels.txt IMAGE

The file takes uint8 RGB pixels, resized to a square with area (box) resampling, ignoring aspect ratio. Scaling to the
range of the network is part of the file.
"""

import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps


def classify(model: str, labels: str, image: str) -> tuple[str, float]:
    """The label of the image and its probability."""
    runner = Interpreter(model_path=model).get_signature_runner("serving_default")
    _, height, width, _ = runner.get_input_details()["images"]["shape"]
    image = ImageOps.exif_transpose(Image.open(image)).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    pixels = Image.alpha_composite(white, image).convert("RGB").resize((width, height), Image.Resampling.BOX)
    probabilities = runner(images=np.asarray(pixels)[np.newaxis])["probabilities"][0]
    best = int(probabilities.argmax())
    return open(labels, encoding="utf-8").read().splitlines()[best], float(probabilities[best])


if __name__ == "__main__":
    label, probability = classify(*sys.argv[1:])
    print(f"{label} {probability:.3f}")
