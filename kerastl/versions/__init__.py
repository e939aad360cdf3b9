"""What `saved_models/NAME/VERSION` contains, and how to restore a model from it.

A version folder is written under a temporary name and renamed when it is complete, so it is complete or absent. NAME is
chosen by the user; VERSION counts from 1. TF Serving is given `saved_models/NAME` and serves the newest version.

    saved_model.pb      the graph, as plain TensorFlow: decoding or tokenisation, backbone, head, calibration.
                        Signatures: `serving_default` takes `image_bytes` or `text` (string, [batch]; for pairs of texts
                        [batch, 2]) and returns `label`, `score` (calibrated), `top_labels`, `top_scores`,
                        `probabilities` and `unknown_score`; `tensor` takes decoded input and returns `logits` and
                        `unknown_score`; `features` returns the embedding; of image models whose logits are sums over
                        places, `explain` returns these
    variables/          its weights, each stored once
    assets/             the vocabulary files that the graph of a text model reads; empty for images
    assets.extra/tf_serving_warmup_requests
                        the request that TF Serving sends to itself before it accepts others
    tflite/model_KIND.tflite
                        LiteRT/TFLite files (fp32, fp16, dynamic, int8). Input: pixels [1, size, size, 3] uint8 RGB, or
                        token ids [1, length] int32; output: `logits` and calibrated `probabilities`, [1, classes],
                        and `unknown_score`
    tflite/tokenize_text.py
                        of text models: text to token ids in plain Python, a reference for clients in other languages
    tokenizer/          of text models: the vocabulary, as `tokenize_text.py` reads it
    model.keras         backbone and head in one Keras model that returns logits; `verify`, `export`, `doctor` and
                        distillation load it
    labels.txt          the class names, one per line, in the order of the probabilities
    run.json            the run record (see `RunRecord`): figures, settings, machine, durations; `--json` prints it
    held_out.npz        the predictions of the evaluation for all held-out rows, by content hash: a later version is
                        compared with them
    rejection.npz       what computes `unknown_score`, as arrays
    relabel.csv         the corrections of labels that were applied, where there were any
    split.csv           one line per row of the data: `id` (content hash), `part` (train, validation, test, or fold N),
                        `name` (its path or number in the source). `evaluate` finds rows used in training by it
    report.html         the report, one file that needs no network
    MODEL_CARD.md       the model card
    manifest.json       the SHA-256 of every other file, package versions, and hashes of the data and the split;
                        `kerastl verify` checks it

In Python, the SavedModel of a text model needs `import tensorflow_text` before it is loaded, because that package
registers the operations of its tokeniser; `kerastl.load` does this, and TF Serving has them built in. Where the
backbone is too large to be exported, `serving_default` takes `features` instead, and only `kerastl.load` runs both
parts.
"""
