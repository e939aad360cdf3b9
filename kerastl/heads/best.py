"""The best of `linear`, `plain` and `joint`, chosen inside the training rows (see `training/fitters/best.py`). The head
that ships is one of them, and has its name."""

from kerastl.heads import Head
from kerastl.heads.joint import build

HEAD = Head("best", "the best of linear, plain and joint, chosen inside the training rows; solved in seconds", build,
            fitter="best", takes_raw=True, all_tokens=True, chooses=True, training={})
