"""What cleanlab makes of the same probabilities. Runs in an environment of its own, which has cleanlab and NumPy.

python cleanlab_worker.py FILE.npz    with p [n, classes] and labels [n]; prints one JSON document
"""

import json
import sys

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores

with np.load(sys.argv[1]) as arrays:
    p, labels = arrays["p"], arrays["labels"]
issues = find_label_issues(labels, p, return_indices_ranked_by="self_confidence", n_jobs=1)
print(json.dumps({"scores": get_label_quality_scores(labels, p, method="self_confidence").tolist(),
                  "issues": np.asarray(issues).tolist()}))
