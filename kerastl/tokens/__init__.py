"""Tasks on tokens: sentences of words, each with a tag or with a head in a tree, on states of a frozen encoder.

    examples = split_sentences(read_sentences("UD_X/"))           # read.py, split.py: TokenExamples with a `Split`
    encoder = load_encoder("minilm", layers="layer_3+layer_6+top")    # states.py: TokenEncoder
    states = compute_states(examples.sentences, encoder, runtime)     # states.py: TokenStates, cached on disk
    states[0]                                                         # [words, layers, dim] float32 of sentence 0
    states.batch([0, 4, 7])                # states [3, longest, layers, dim] and mask [3, longest], of a batch
    examples.split.rows(TRAIN)             # numbers of the sentences to train on: VALIDATION, TEST alike

`conllu.py` and `two_column.py` read and write files; `sentences.py` holds the types. `align.py` maps words to the
pieces of the tokenizer, in the TensorFlow graph, for training and for the exported model alike. `fit.py` is the
training loop, for heads of any task on tokens.
"""
