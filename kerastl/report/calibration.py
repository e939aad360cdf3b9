"""What the report, the model card and the terminal say about calibration, ranking and the target."""

from kerastl.evaluation.result import CalibrationChoice, Figures

IN_WORDS = {
    "none": "none: the scores are used as they are, because no calibration improves the log loss by more than chance",
    "temperature": "a temperature, which makes all scores more or less confident",
    "temperature + class shares": "a temperature and one number that corrects the shares of the classes, which class "
                                  "weights or few rows shift",
    "temperature + bias per class": "a temperature and a bias for each class",
}


def calibration_chosen(choice: CalibrationChoice | None) -> str:
    """Which calibration was chosen and why, in words; empty for records of earlier versions."""
    if choice is None:
        return ""
    if not choice.trials:
        return f"Calibration: none, because there are too few rows to compare any ({choice.rows})."
    losses = ", ".join(f"{trial.name} {trial.log_loss:.4f}" for trial in choice.trials)
    folds = ""
    if choice.of_folds and set(choice.of_folds) != {choice.chosen}:
        others = sorted(set(choice.of_folds) - {choice.chosen})
        folds = f" Without the rows of some folds, the choice was {' or '.join(others)}."
    left = "" if choice.complete else (
        f" A bias per class was not fitted: {choice.reason or 'there are too many rows and classes'}.")
    chosen = IN_WORDS.get(choice.chosen, choice.chosen)
    return (f"Calibration: {chosen}. It is the simplest whose log loss on {choice.rows} rows, each left out of its own "
            f"fit, is not worse than the best by more than a standard error ({losses}).{folds}{left}")


def ece_in_words(test: Figures) -> str:
    """Whether the calibrated ECE shows a miscalibration; empty for records of earlier versions."""
    if test.ece_by_chance is None:
        return ""
    mean, most = test.ece_by_chance
    shown = f"a perfectly calibrated model would show {mean:.3f} on these rows, and up to {most:.3f} in 95% of cases"
    return (f"No miscalibration was found: {shown}." if test.ece_calibrated <= most else
            f"The model is not perfectly calibrated: {shown}.")


def rates(test: Figures) -> list[tuple[str, str]]:
    """Balanced accuracy, ROC-AUC and average precision with their intervals, by name; empty for earlier versions."""
    named = (("balanced accuracy", test.balanced_accuracy, test.balanced_accuracy_ci95),
             ("ROC-AUC", test.roc_auc, test.roc_auc_ci95),
             ("average precision", test.average_precision, test.average_precision_ci95))
    return [(name, f"{value:.3f}  (95% CI {ends[0]:.3f} to {ends[1]:.3f})") for name, value, ends in named
            if value is not None and ends is not None]


def unranked(test: Figures) -> str:
    """The classes that ROC-AUC and average precision leave out; empty if there are none, and for earlier versions."""
    names = [scores.name for scores in test.classes if scores.roc_auc is None]
    if test.balanced_accuracy is None or not names:
        return ""
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return (f"ROC-AUC and average precision are not defined for {', '.join(names[:10])}{more}: no held-out row, or "
            "every one, is of this class.")


def interval(value: float | None, ends: tuple[float, float] | None) -> str:
    """A figure with its interval for a table; a dash where it is not defined."""
    return "-" if value is None or ends is None else f"{value:.3f} ({ends[0]:.3f} to {ends[1]:.3f})"
