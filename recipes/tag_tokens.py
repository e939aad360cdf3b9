"""Words: a tagger of parts of speech or named entities, on states of a frozen encoder.

python recipes/tag_tokens.py --data samples/treebank --name NAME
Data: CoNLL-U (a file, or a folder UD_X/), or files with a word and its tag in each line, for entities in BIO.
Measured: part of speech on the Turkish web treebank, 8,388 words of 500 test sentences: linear 0.746 (95% CI 0.735 to
0.757), and 0.694 on the same network with random weights; bilstm 0.884 (0.875 to 0.892); most frequent tag of each word
0.900. MiniLM is an English model: use one that knows your language.
Time: not measured on an idle machine.
"""

from dataclasses import asdict, dataclass

import kerastl as tl


@dataclass(frozen=True, kw_only=True)
class Config:
    """Flags of the recipe."""

    data: str  # a .conllu file, a file of two columns (.tsv, .bio, .txt), or a folder with train, dev and test files
    name: str  # the model is written to OUT/NAME/VERSION
    out: str = "saved_models"  # folder of models
    column: str = "upos"  # of a CoNLL-U file, the column of the tags: upos, xpos, feats, lemma, deprel or misc
    backbone: str = "minilm"  # a backbone for texts, see `kerastl backbones`
    weights: str | None = None  # bundled, preset, none (random, for tests), a folder (default: see `kerastl backbones`)
    layers: str = "auto"  # feature layers that the head mixes, as in layer_2+layer_4+top
    pieces: str = "first"  # what stands for a word: its first piece, or the mean over its pieces
    max_length: int | None = None  # tokens of a sentence; words beyond are counted (default: as many as it takes)
    head: str = "linear"  # linear, bilstm or transformer
    epochs: int = 100  # at most; training ends early
    patience: int = 10  # epochs without a better score on validation sentences, after which training ends
    untrained: bool = True  # also train the head on a network with random weights, to show what transfer is worth
    limit: int | None = None  # use at most this many sentences
    tflite: str = "fp32,dynamic"  # TFLite files of a linear head on first pieces: fp32, fp16, dynamic, all or none
    seed: int = 0  # training seed; does not affect the split
    engine: str = "auto"  # what computes the states: tensorflow, openvino or auto
    cache_dir: str | None = None  # feature cache (default: the user's cache directory)
    json: bool = False  # print the results as one JSON document


def main(config: Config) -> tl.TaggingRecord:
    """Read the sentences, compute states, train a head on them, evaluate and export it."""
    clock, target = tl.Stopwatch(), tl.target(config.out, config.name, config.tflite, modality="text")
    runtime = tl.apply_runtime("auto", "off", config.seed, config.engine)
    options = tl.FitOptions(epochs=config.epochs, patience=config.patience)
    examples = tl.split_sentences(tl.read_sentences(config.data, config.column, limit=config.limit,
                                                         cache_dir=config.cache_dir))
    tl.check_tagger(examples, config.head, options)

    encoder = tl.load_encoder(config.backbone, config.weights, layers=config.layers, pieces=config.pieces,
                              max_length=config.max_length)
    states = tl.compute_states(examples, encoder, runtime, cache_dir=config.cache_dir)
    tagger = tl.fit_tagger(examples, states, config.head, options=options, seed=config.seed)
    evaluation = tl.evaluate_tagger(tagger, examples, states, runtime, with_untrained=config.untrained, options=options,
                                    cache_dir=config.cache_dir)
    return tl.write_tagger(target, tagger, examples, states, runtime, evaluation, clock=clock, config=asdict(config))


show = tl.tagging_summary  # what is printed of a run

if __name__ == "__main__":
    raise SystemExit(tl.run(main, Config, show=show))
