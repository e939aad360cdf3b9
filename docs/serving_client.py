"""Classifies images through TF Serving's REST API, using only Python's standard library.

python docs/serving_client.py http://localhost:8501/v1/models/stamps IMAGE...

Inputs whose names end in `_bytes` are sent as {"b64": ...}. The model decodes the image file itself.
"""

import base64
import json
import sys
import urllib.request


def classify(model: str, images: list[str]) -> list[tuple[str, float]]:
    """The label and the calibrated score of each image."""
    instances = [{"image_bytes": {"b64": base64.b64encode(open(path, "rb").read()).decode()}} for path in images]
    body = json.dumps({"signature_name": "serving_default", "instances": instances}).encode()
    request = urllib.request.Request(f"{model}:predict", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        return [(row["label"], row["score"]) for row in json.load(response)["predictions"]]


if __name__ == "__main__":
    for label, score in classify(sys.argv[1], sys.argv[2:]):
        print(f"{label} {score:.3f}")
