"""Runs networks of torch and stock OpenVINO for `peers.py`, by whose environment's Python it is started.

Standard input: lines of JSON. The first one describes the work: kind (`torch` or `openvino`), network, dtype, inputs (a
.npy file of the batch), model (a folder), threads. Then each line asks for a run. Standard output: for each line the
seconds that it took, and first the least cosine to the same network in float32.
"""

import json
import sys
import time

import numpy as np


def torch_network(work: dict):
    """A callable on the batch, in float32 or bfloat16. Images in channels-last, decoded already."""
    import torch

    torch.set_num_threads(work["threads"])
    torch.manual_seed(0)
    batch = np.load(work["inputs"])
    dtype = getattr(torch, work["dtype"])
    if work["network"] == "minilm":
        from transformers import AutoModel

        model = AutoModel.from_pretrained(work["model"], dtype=dtype).eval()
        tokens = torch.from_numpy(batch.astype(np.int64))
        mask = (tokens != 0).long()

        def run():
            states = model(input_ids=tokens, attention_mask=mask).last_hidden_state.float()
            return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    else:
        import timm

        name = {"inception_v3": "inception_v3", "resnet50": "resnet50", "efficientnet_lite0": "tf_efficientnet_lite0"}
        model = timm.create_model(name[work["network"]], num_classes=0).eval()
        model = model.to(memory_format=torch.channels_last).to(dtype)
        pixels = torch.from_numpy(batch)

        def run():
            images = pixels.permute(0, 3, 1, 2).to(dtype) / 127.5 - 1
            return model(images.contiguous(memory_format=torch.channels_last)).float()

    def call() -> np.ndarray:
        with torch.inference_mode():
            return run().numpy()
    return call


def openvino_network(work: dict):
    """A SavedModel as the converter reads it, compiled with the settings that it has by default but for the type."""
    sys.modules["openvino_telemetry"] = None
    import openvino

    kind = {"float32": "f32", "bfloat16": "bf16"}[work["dtype"]]
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(work["model"]), "CPU", {"INFERENCE_PRECISION_HINT": kind})
    request, batch = compiled.create_infer_request(), np.load(work["inputs"])
    return lambda: np.array(request.infer([batch])[0], np.float32)


def least_cosine(a: np.ndarray, b: np.ndarray) -> float:
    """The smallest cosine of two rows."""
    return float(((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min())


def main() -> None:
    """Answer the lines of standard input."""
    work = json.loads(sys.stdin.readline())
    made = {"torch": torch_network, "openvino": openvino_network}[work["kind"]]
    run = made(work)
    cosine = 1.0 if work["dtype"] == "float32" else least_cosine(run(), made({**work, "dtype": "float32"})())
    run()
    print(cosine, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
