"""One model of backbone and head: splicing, freezing and BatchNorm are here and nowhere else."""

from kerastl.model.assembly import Parts, parts_of, pooling_for, splice
from kerastl.model.freezing import block_count, blocks, freeze, leaves, unfreeze
from kerastl.model.prediction import Predictor, predict_logits, single_row_latency, timed
from kerastl.model.raw_branch import RAW_BRANCH, raw_branch_of, raw_of

__all__ = ["RAW_BRANCH", "Parts", "Predictor", "block_count", "blocks", "freeze", "leaves", "parts_of", "pooling_for",
           "predict_logits", "raw_branch_of", "raw_of", "single_row_latency", "splice", "timed",
           "unfreeze"]
