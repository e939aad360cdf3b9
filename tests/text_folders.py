"""Tiny text models as folders: what transformers or KerasHub would have saved, with random weights, always the same,
and a tiny vocabulary in the classic files. 2 blocks of 2 heads, 32 features, 64 places.

Imports neither torch nor Keras by itself: the script that makes the golden answers uses it too.
"""

import json
import struct
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

RECIPES = Path(__file__).parent / "golden/text_networks.json"
HUGGING_FACE = ("bert", "roberta", "xlm-roberta", "distilbert")
KERAS_HUB = {"bert": "Bert", "roberta": "Roberta", "xlm-roberta": "XLMRoberta", "distilbert": "DistilBert",
             "deberta-v2": "DebertaV3"}
POSITIONS = 64

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ("the a and not very was is it film movie story good bad great awful long short fine dull loved hated actor "
         "scene plot never again watch this in of to with but so too much no").split()
SIGNS = [*"0123456789", *".,!?'-:;()"]
WORDPIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{one}" for one in LETTERS), *SIGNS,
              *(word for word in WORDS if len(word) > 1), "##ing", "##ed", "##est"]
MERGES = ["t h", "Ġ a", "Ġ t", "h e", "Ġt he", "e d", "i n", "in g", "o o", "oo d", "Ġ g", "Ġg ood"]
SENTENCEPIECES = ["▁", *LETTERS, *SIGNS, *(f"▁{word}" for word in WORDS), "ing", "ed", "est"]


def random_tensor(name: str, shape: Iterable[int]) -> NDArray[np.float32]:
    """Numbers that follow from a tensor's name: about what training leaves, large enough that a mistake shows."""
    draw = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(tuple(shape))
    if "norm" in name.lower():
        draw = 0.1 * draw + name.endswith(("weight", "gamma"))
    return (draw * (1 if "norm" in name.lower() else 0.5 if "embed" in name else 0.25)).astype(np.float32)


def recipe(family: str) -> dict[str, Any]:
    """How transformers saves the family's tiny model: config.json, and for each way of saving it the shapes."""
    return json.loads(RECIPES.read_text())[family]


def tensors(family: str, variant: str = "bare") -> dict[str, NDArray[np.float32]]:
    """The tensors by name. The same one has the same numbers in every variant, whatever its prefix."""
    about = recipe(family)["variants"]
    way, bare = about[variant], about["bare"]["more"]
    shapes = {name: shape for name, shape in bare.items() if name not in way["less"]} if variant != "bare" else {}
    made = {way["prefix"] + name: random_tensor(name, shape) for name, shape in shapes.items()}
    return made | {name: random_tensor(name, shape) for name, shape in way["more"].items()}


def hugging_face_folder(path: Path, family: str, *, variant: str = "bare", shards: int = 1,
                        cast: Callable[[NDArray[Any]], NDArray[Any]] = lambda tensor: tensor,
                        **config: Any) -> Path:
    """A folder as transformers saves it. variant: `bare`, `head` (pretraining), `classifier`, `no_pooler`.

    cast: gives every tensor another type. config: fields of config.json to change; None takes one out.
    """
    path.mkdir(parents=True, exist_ok=True)
    fields = {name: value for name, value in (recipe(family)["config"] | config).items() if value is not None}
    (path / "config.json").write_text(json.dumps(fields, indent=2))
    given = {name: cast(tensor) for name, tensor in tensors(family, variant).items()}
    if shards == 1:
        save_file(given, path / "model.safetensors", metadata={"format": "pt"})
    else:
        names, files = sorted(given), [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
        for i, file in enumerate(files):
            save_file({name: given[name] for name in names[i::shards]}, path / file, metadata={"format": "pt"})
        index = {"metadata": {}, "weight_map": {name: files[i % shards] for i, name in enumerate(names)}}
        (path / "model.safetensors.index.json").write_text(json.dumps(index))
    _vocabulary(path, family)
    return path


def keras_hub_folder(path: Path, family: str) -> Path:
    """A KerasHub preset folder of any of the five families."""
    import keras_hub

    name = KERAS_HUB[family]
    given: dict[str, Any] = {
        "bert": {"vocabulary": WORDPIECES, "lowercase": True},
        "distilbert": {"vocabulary": WORDPIECES, "lowercase": True},
        "roberta": {"vocabulary": byte_pairs(), "merges": MERGES}, "xlm-roberta": {"proto": sentencepieces()},
        "deberta-v2": {"proto": sentencepieces(("[PAD]", "[CLS]", "[SEP]", "[UNK]"), unknown=3)},
    }[family]
    tokenizer = getattr(keras_hub.models, f"{name}Tokenizer")(**given)
    sizes = {"bucket_size": 16} if family == "deberta-v2" else {}
    backbone = getattr(keras_hub.models, f"{name}Backbone")(
        vocabulary_size=tokenizer.vocabulary_size(), num_layers=2, num_heads=2, hidden_dim=32, intermediate_dim=48,
        max_sequence_length=POSITIONS, **sizes)
    for weight in backbone.weights:
        weight.assign(random_tensor(weight.path, weight.shape))
    backbone.save_to_preset(str(path))
    tokenizer.save_to_preset(str(path))
    return path


def vocabulary_size(family: str) -> int:
    """How many tokens the family's tiny vocabulary has."""
    return {"bert": len(WORDPIECES), "distilbert": len(WORDPIECES), "roberta": len(byte_pairs())}.get(
        family, len(SENTENCEPIECES) + 5)  # <s>, <pad>, </s>, <unk> and <mask>


def _vocabulary(path: Path, family: str) -> None:
    if family == "roberta":
        (path / "vocab.json").write_text(json.dumps(byte_pairs(), ensure_ascii=False), encoding="utf-8")
        (path / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES, ""]), encoding="utf-8")
        about: dict[str, Any] = {"tokenizer_class": "RobertaTokenizer"}
    elif family == "xlm-roberta":
        (path / "sentencepiece.bpe.model").write_bytes(sentencepieces())
        about = {"tokenizer_class": "XLMRobertaTokenizer"}
    else:
        (path / "vocab.txt").write_text("\n".join([*WORDPIECES, ""]), encoding="utf-8")
        about = {"tokenizer_class": f"{KERAS_HUB[family]}Tokenizer", "do_lower_case": True}
    (path / "tokenizer_config.json").write_text(json.dumps(about | {"model_max_length": POSITIONS}))


def byte_pairs() -> dict[str, int]:
    """RoBERTa's tiny vocabulary: special tokens, the 256 bytes as the characters that stand for them, the merges."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    odd = [byte for byte in range(256) if byte not in plain]  # shown as characters from 256 on
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *map(chr, plain), *(chr(256 + i) for i in range(len(odd))),
              *(merge.replace(" ", "") for merge in MERGES), "<mask>"]
    return {token: i for i, token in enumerate(tokens)}


def sentencepieces(special: tuple[str, ...] = ("<unk>", "<s>", "</s>"), unknown: int = 0) -> bytes:
    """A sentencepiece model of `SENTENCEPIECES`, written as the protocol buffer that it is."""
    def field(number: int, value: bytes | float | int) -> bytes:
        if isinstance(value, bytes):
            return bytes([number << 3 | 2, *_varint(len(value))]) + value
        if isinstance(value, float):
            return bytes([number << 3 | 5]) + struct.pack("<f", value)
        return bytes(_varint(number << 3)) + bytes(_varint(value))

    pieces = [(piece, 0.0, 2 if i == unknown else 3) for i, piece in enumerate(special)]  # 2: unknown, 3: control
    pieces += [(piece, -1.0 / len(piece), 1) for piece in SENTENCEPIECES]  # long pieces are likelier
    content = b"".join(field(1, field(1, piece.encode()) + field(2, score) + field(3, kind))
                       for piece, score, kind in pieces)
    ids = {40: unknown, 41: 1, 42: 2} | ({43: 0} if unknown else {})  # unknown, start, end, padding
    return content + field(2, b"".join(field(number, value) for number, value in ids.items())) + field(3, b"")


def _varint(value: int) -> list[int]:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return [*parts, value]


def change(**fields: Any) -> Callable[[Path], None]:
    """Alters fields of a folder's config.json; ... takes one out."""
    def harm(folder: Path) -> None:
        path = folder / "config.json"
        config = json.loads(path.read_text()) | fields
        path.write_text(json.dumps({name: value for name, value in config.items() if value is not ...}))
    return harm
