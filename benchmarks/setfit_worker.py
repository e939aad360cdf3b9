"""Trains and evaluates SetFit for `setfit.py`, by whose environment's Python it is started, with `-P`: the folder of
this file has a `setfit.py`, too.

Standard input: lines of JSON. The first one describes the work: model (a folder of Sentence Transformers), max_length,
test (texts), threads, device (cpu or cuda). Then each line is a draw: texts, labels, seed, and num_iterations, which is
null for SetFit's default, as many pairs as there are. Standard output: for each line JSON, first the version of SetFit,
then for each draw the seconds of training, the number of steps, and the predicted label of each test text.
"""

import json
import os
import sys
import tempfile
import time

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TRANSFORMERS_VERBOSITY="error")
ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # SetFit's trainer prints to standard output

import setfit  # noqa: E402
import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from sentence_transformers import SentenceTransformer  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402


def answer(value: dict) -> None:
    """Write a line for the process that started this one."""
    print(json.dumps(value), file=ANSWERS, flush=True)


def result_of(work: dict, draw: dict) -> dict:
    """Train on a draw from the weights of the folder, then predict the test texts. Everything but one epoch and the
    number of iterations is SetFit's default: pairs of texts, batches of 16, the squared error of cosines, then logistic
    regression."""
    body = SentenceTransformer(work["model"], device=work["device"])
    body.max_seq_length = work["max_length"]
    model = setfit.SetFitModel(model_body=body, model_head=LogisticRegression())
    with tempfile.TemporaryDirectory() as folder:
        arguments = setfit.TrainingArguments(folder, num_epochs=1, num_iterations=draw["num_iterations"],
                                             seed=draw["seed"], save_strategy="no", report_to="none",
                                             show_progress_bar=False)
        data = Dataset.from_dict({"text": draw["texts"], "label": draw["labels"]})
        trainer = setfit.Trainer(model=model, args=arguments, train_dataset=data)
        start = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - start
        steps = trainer.st_trainer.state.global_step
    return {"seconds": seconds, "steps": steps, "predictions": [int(label) for label in model.predict(work["test"])]}


def main() -> None:
    """Answer the lines of standard input."""
    work = json.loads(sys.stdin.readline())
    torch.set_num_threads(work["threads"])
    answer({"version": setfit.__version__})
    for line in sys.stdin:
        answer(result_of(work, json.loads(line)))


if __name__ == "__main__":
    main()
