"""TF.Text: the operations that tokenizers and their saved graphs use. Importing it registers them."""

from kerastl.runtime import without_keras

with without_keras():
    import tensorflow_text as tf_text
    from tensorflow_text.python.ops.sentencepiece_tokenizer import gen_sentencepiece_tokenizer

__all__ = ["gen_sentencepiece_tokenizer", "tf_text"]
