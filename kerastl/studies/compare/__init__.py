"""Comparing backbones, heads and depths of fine-tuning on the same rows. Read `study` first: it calls the others.

`combinations` checks what is compared, `folds` splits the rows, `preparation` computes features, `cells` trains and
evaluates, `cost` measures size and latency, `recommendation` tests the differences and picks one, and `final` evaluates
that one on the test rows.
"""
