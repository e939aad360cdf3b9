"""Tagging: a tag for each word of a sentence, such as its part of speech, or named entities in BIO."""
