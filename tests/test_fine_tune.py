"""Unfreezing: what trains and what must not move, what is kept, and runs that were stopped."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import draw_folder
from tiny import plain_runtime, tiny_backbone

import kerastl as tl
from kerastl.data.examples import VALIDATION
from kerastl.inputs.batches import decode_file
from kerastl.training.fine_tuning import fine_tune as tuning
from kerastl.training.fine_tuning import keep
from kerastl.training.fine_tuning.checkpoints import LATEST, Checkpoints
from kerastl.training.fine_tuning.fine_tune import remove_finished
from kerastl.training.fine_tuning.plan import TuningOptions
from kerastl.training.options import TrainingOptions

HERE = Path(__file__).parent
CLOSE = {"red": (121, 120, 120), "green": (120, 121, 120), "blue": (120, 120, 121)}  # so that there is room to improve


class Made:
    """The steps of a recipe up to unfreezing, on images whose classes lie close; and the weights on the way."""

    def __init__(self, folder: Path, cache: Path, several: bool = False, **choices: Any) -> None:
        examples = tl.read_images(str(folder))
        if several:
            examples = replace(examples, targets=examples.one_hot().astype(np.int64))
        self.cache, self.runtime, self.backbone = cache, plain_runtime(**choices), tiny_backbone()
        self.features = tl.compute_features(tl.split(examples, "holdout"), self.backbone, self.runtime,
                                            cache_dir=cache)
        self.examples = self.features.examples
        self.frozen = tl.fit(self.features)
        self.model = tl.splice(self.backbone, self.frozen.head)
        self.before, self.loss_before = self.model.get_weights(), self.loss()

    def tune(self, epochs: int = 2, blocks: int = 1, **asked: Any) -> tuning.FineTuneResult:
        self.fitted, tuned = tl.fine_tune(
            replace(self.features, examples=self.examples), self.model, self.frozen, blocks,
            options=TrainingOptions(epochs, fine_tuning=TuningOptions(**asked)))
        return tuned

    def moved(self) -> dict[str, bool]:
        """Whether each weight is another than before, by any bit."""
        return {weight.path: not np.array_equal(weight.numpy(), before)
                for weight, before in zip(self.model.weights, self.before, strict=True)}

    def loss(self) -> float:
        """On the validation rows, straight from their files."""
        rows = self.examples.split.rows(VALIDATION)
        logits = self.model(np.stack([decode_file(self.examples.items[row], 32) for row in rows]).astype(np.float32))
        return float(self.examples.task.log_loss(np.asarray(logits, float), self.examples.one_hot(rows)).mean())


@pytest.fixture(scope="module")
def close(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("close"), 40, CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize("unfreeze", ["all", "contrast"])
def test_the_backbone_of_the_features_does_not_change_and_a_frozen_model_ships_what_it_reports(
        unfreeze: str, close: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep, "is_better", lambda *predictions: True)  # on so few rows nothing is better by an error
    examples = tl.split(tl.read_images(str(close)), "holdout", unfreeze=unfreeze)
    backbone = tiny_backbone()
    features = tl.compute_features(examples, backbone, plain_runtime(), cache_dir=tmp_path)
    tuned = tl.train(features, unfreeze=unfreeze, options=TrainingOptions(2))
    assert tuned.fine_tuning is not None and tuned.fine_tuning.kept
    assert all(map(np.array_equal, backbone.model.get_weights(), tiny_backbone().model.get_weights()))
    frozen = tl.train(features)
    rows = frozen.fitted.held_out.rows
    pixels = np.stack([decode_file(features.examples.items[row], 32) for row in rows]).astype(np.float32)
    assert np.abs(np.asarray(frozen.model(pixels)) - frozen.fitted.held_out.logits).max() < 1e-4
    assert np.abs(np.asarray(tuned.model(pixels)) - tuned.fitted.held_out.logits).max() < 1e-4
    assert np.abs(tuned.fitted.held_out.logits - frozen.fitted.held_out.logits).max() > 1e-2


@pytest.mark.parametrize(("blocks", "several", "precision"), [
    (1, False, "float32"), pytest.param(2, True, "float32", marks=pytest.mark.slow),
    pytest.param(1, False, "mixed_bfloat16", marks=pytest.mark.slow)])
def test_unfrozen_blocks_train_and_nothing_else_moves_by_a_bit(blocks: int, several: bool, precision: str, close: Path,
                                                               tmp_path: Path) -> None:
    """The validation losses told are those of the float32 model on plain pixels: augmentation is for training only."""
    made = Made(close, tmp_path, several, precision=precision)
    tuned = made.tune(blocks=blocks)
    assert tuned.kept and tuned.loss_after < tuned.loss_before
    assert tuned.history == {name: [epoch[name] for epoch in tuned.epochs] for name in ("epoch", "loss", "val_loss")}
    trained = {f"block{i}_conv" for i in (2, 1)[:blocks]}
    assert set(tuned.layers) == trained
    assert {path.split("/")[0] for path, moved in made.moved().items() if moved} == trained | {"linear"}
    assert len(made.moved()) == 14 and not made.model.trainable_weights
    assert tuned.loss_after == pytest.approx(made.loss(), rel=1e-4)
    assert tuned.loss_before == pytest.approx(made.loss_before, rel=1e-4)
    if precision == "float32":
        assert tuned.loss_after == pytest.approx(min(one["val_loss"] for one in tuned.epochs), rel=1e-4)
    for answers in (made.fitted.held_out, made.fitted.validation):  # those of what ships
        pixels = np.stack([decode_file(made.examples.items[row], 32) for row in answers.rows])
        assert np.abs(made.model.predict(pixels, verbose=0) - answers.logits).max() < 1e-4
    assert not np.array_equal(made.fitted.held_out.logits, made.frozen.held_out.logits)


@pytest.mark.slow
def test_what_does_not_improve_on_the_frozen_backbone_is_not_kept(close: Path, tmp_path: Path) -> None:
    made = Made(close, tmp_path)
    tuned = made.tune(epochs=1, learning_rate=1.0)
    assert not tuned.kept and tuned.loss_after > tuned.loss_before and len(tuned.epochs) == 1
    assert not any(made.moved().values()) and not made.model.trainable_weights
    assert made.fitted is made.frozen and made.loss() == pytest.approx(tuned.loss_before, rel=1e-3)
    assert len(states(tmp_path)) == 1  # a run that is killed before the version is written need not do it again


# Runs that were stopped


class Watched(Checkpoints):
    """Notes each epoch begun, with the optimizer's steps by then; stops at the beginning of one, as Ctrl-C does."""

    stop: int | None = None
    begun: list[tuple[int, int]]
    ended: list[float]  # validation losses

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.begun.append((epoch, int(self.model.optimizer.iterations.numpy())))
        if epoch == self.stop:
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        super().on_epoch_end(epoch, logs)
        self.ended.append(float(logs["val_loss"]))


@pytest.fixture
def watched(monkeypatch) -> type[Watched]:
    monkeypatch.setattr(tuning, "Checkpoints", Watched)
    Watched.begun, Watched.ended, Watched.stop = [], [], None
    return Watched


def states(cache: Path) -> list[Path]:
    return [path for path in (cache / "fine_tune").iterdir() if path.is_dir()]


@pytest.mark.slow
def test_a_stopped_run_goes_on_from_its_last_epoch(close: Path, tmp_path: Path, watched: type[Watched]) -> None:
    watched.stop = 2
    with pytest.raises(KeyboardInterrupt):
        Made(close, tmp_path).tune(epochs=3)
    assert [epoch for epoch, _ in watched.begun] == [0, 1, 2] and len(watched.ended) == 2
    steps = watched.begun[1][1]
    watched.begun, watched.stop = [], None
    made = Made(close, tmp_path)
    tuned = made.tune(epochs=3)
    assert watched.begun == [(2, 2 * steps)]  # the rate's schedule goes on, too
    assert [one["epoch"] for one in tuned.epochs] == [1, 2, 3]
    assert [one["val_loss"] for one in tuned.epochs] == watched.ended  # those of both runs
    assert tuned.kept and tuned.loss_after == pytest.approx(made.loss(), rel=1e-4)
    assert len(states(tmp_path)) == 1  # until the version is written: a run that is killed before need not train again
    watched.begun = []
    again = Made(close, tmp_path)
    assert again.tune(epochs=3).epochs == tuned.epochs and watched.begun == []
    assert again.loss() == pytest.approx(made.loss(), rel=1e-6)
    remove_finished(tmp_path)
    assert states(tmp_path) == []


@pytest.mark.slow
def test_epochs_survive_a_failure_in_the_export_and_go_with_the_version(close: Path, tmp_path: Path,
                                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*args: Any, **settings: Any) -> None:
        raise KeyboardInterrupt

    made = Made(close, tmp_path)
    trained = tl.train(made.features, unfreeze=1, options=TrainingOptions(2))
    evaluation = tl.evaluate(made.features.examples, trained.fitted)
    to = tl.target(str(tmp_path / "out"), "m", "none")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("kerastl.report.version.export_model", killed)
        tl.write_version(to, trained, features=made.features, evaluation=evaluation)
    assert len(states(tmp_path)) == 1
    tl.write_version(to, trained, features=made.features, evaluation=evaluation)
    assert states(tmp_path) == []


@pytest.mark.slow
def test_other_work_does_not_take_up_where_this_stopped(close: Path, tmp_path: Path, watched: type[Watched]) -> None:
    watched.stop = 1
    for epochs, blocks in ((3, 1), (3, 2), (4, 1)):
        watched.begun = []
        with pytest.raises(KeyboardInterrupt):
            Made(close, tmp_path).tune(epochs, blocks)
        assert [epoch for epoch, _ in watched.begun] == [0, 1]
    assert len(states(tmp_path)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [0, 1])
def test_a_kill_while_the_weights_are_being_written_costs_an_epoch_at_most(epoch: int, close: Path, tmp_path: Path,
                                                                          watched: type[Watched], monkeypatch) -> None:
    save, written = np.savez, []

    def half(path: Path, *arrays: Any) -> None:
        save(path, *arrays)
        written.extend([path] * (path.name == LATEST))
        if len(written) == epoch + 1:
            content = path.read_bytes()
            path.write_bytes(content[:len(content) // 2])
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", half)
        with pytest.raises(KeyboardInterrupt):
            Made(close, tmp_path).tune(epochs=3)
    watched.begun = []
    made = Made(close, tmp_path)
    tuned = made.tune(epochs=3)
    assert [at for at, _ in watched.begun] == list(range(epoch, 3))
    assert [one["epoch"] for one in tuned.epochs] == [1, 2, 3]
    assert tuned.loss_after == pytest.approx(made.loss(), rel=1e-4)


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
import conftest  # brings the tiny backbone
import test_fine_tune
test_fine_tune.Made(Path(sys.argv[1]), Path(sys.argv[2])).tune(epochs=12)
"""


@pytest.mark.slow
def test_another_process_goes_on_where_one_was_killed(close: Path, tmp_path: Path, watched: type[Watched]) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(close), str(tmp_path), str(HERE)],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while process.stdout.readline().partition(":")[0] not in ("epoch 2", ""):  # told when it is kept
        pass
    process.send_signal(signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, err
    made = Made(close, tmp_path)
    tuned = made.tune(epochs=12)
    assert 2 <= watched.begun[0][0] < 12 and [one["epoch"] for one in tuned.epochs] == list(range(1, 13))
    assert tuned.loss_after == pytest.approx(made.loss(), rel=1e-4)
