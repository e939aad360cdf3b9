"""The section of the run record about the learning curve: what was measured, what is predicted, and the answer."""

from dataclasses import dataclass

from kerastl.fields import Section

Interval = tuple[float, float]  # low, high
FARTHEST = 4  # times the rows, beyond which nothing is predicted
CLEAR = 0.005  # recall that a class gains at least, by its interval, to be named


@dataclass(frozen=True)
class SizeAccuracy(Section):
    """The accuracy of heads that are trained on so many rows, with its 80% interval."""

    rows: int
    accuracy: float
    accuracy_ci80: Interval


@dataclass(frozen=True)
class HiddenSize(Section):
    """The check of the fit: the largest size, predicted from the smaller ones. standard_error: of the difference."""

    rows: int
    measured: float
    predicted: float
    standard_error: float

    @property
    def miss(self) -> float:
        """By how much the accuracy was predicted too high."""
        return self.predicted - self.measured

    @property
    def sentence(self) -> str:
        """The check in words."""
        return (f"Check: without the largest size, the fit predicts {self.predicted:.3f} for {self.rows:,} rows, where "
                f"{self.measured:.3f} was measured: a miss of {100 * self.miss:+.1f} points (standard error "
                f"{100 * self.standard_error:.1f}).")


@dataclass(frozen=True)
class ClassCurve(Section):
    """What a class gains. rows: that have it now; recall: as measured at the largest size; gain: of recall, with twice
    the rows of all classes, by a curve fitted to its recall."""

    name: str
    rows: int
    recall: float
    gain: float
    gain_ci80: Interval


@dataclass(frozen=True, kw_only=True)
class LearningCurve(Section):
    """How accuracy grows with the number of labelled rows.

    rows: that could be used; with a hold-out, those for training and validation. fits: heads for each size. fitted: the
    accuracy of the fitted curve at the measured sizes. predicted:
    from the present number of rows to at most 4 times as many; empty where nothing is predicted. hidden: the check of
    the fit. target_accuracy: that was asked for, or a quarter fewer errors than now. more_rows: how many more rows it
    takes, 80% interval; None for an end that is not within 4 times the rows. reason: why `more_rows` cannot be said, or
    why nothing was measured. scope: what the curve stands for; exported: how a run's model differs from that,
    empty where it does not. classes: the largest gain first.
    """

    rows: int = 0
    nouns: str = "rows"
    head: str = "linear"
    fits: int = 0
    measured: tuple[SizeAccuracy, ...] = ()
    fitted: tuple[float, ...] = ()
    predicted: tuple[SizeAccuracy, ...] = ()
    hidden: HiddenSize | None = None
    target_accuracy: float | None = None
    target_requested: bool = False
    more_rows: tuple[int | None, int | None] | None = None
    reason: str = ""
    scope: str = ""
    exported: str = ""
    classes: tuple[ClassCurve, ...] = ()
    seconds: float = 0.0

    def __repr__(self) -> str:
        return f"LearningCurve({self.sentence})"

    def at(self, times: int) -> SizeAccuracy | None:
        """The prediction for so many times the rows; None where there is none."""
        return next((size for size in self.predicted if size.rows == times * self.rows), None)

    @property
    def target(self) -> str:
        """What the rows are for, in words."""
        if self.target_accuracy is None:
            return "a higher accuracy"
        if self.target_requested:
            exact = round(self.target_accuracy, 3) == self.target_accuracy
            return f"an accuracy of {self.target_accuracy:{'.3f' if exact else 'g'}}"
        return f"a quarter fewer errors, an accuracy of about {self.target_accuracy:.3f}"

    @property
    def sentence(self) -> str:
        """How many more rows the target takes."""
        if self.reason or self.more_rows is None:
            return f"Cannot say how many more {self.nouns} are needed for {self.target}: {self.reason}."
        low, high = self.more_rows
        most = f"{FARTHEST} times the {self.nouns} ({FARTHEST * self.rows:,})"
        if low is None:
            return (f"More than {(FARTHEST - 1) * self.rows:,} more {self.nouns} for {self.target}: {most} are not "
                    "enough, and nothing is predicted beyond.")
        if high is None:
            return (f"At least {low:,} more {self.nouns} (80% interval) for {self.target}; even {most} may not be "
                    "enough, and nothing is predicted beyond.")
        if high == 0:
            return f"{self.target[0].upper()}{self.target[1:]} is reached with the present {self.rows:,} {self.nouns}."
        return f"{low:,} to {high:,} more {self.nouns} (80% interval) for {self.target}."

    @property
    def twice(self) -> str:
        """What twice the rows would bring; empty where nothing is predicted."""
        now, twice = self.at(1), self.at(2)
        if now is None or twice is None:
            return ""
        (low, high), (least, most) = twice.accuracy_ci80, now.accuracy_ci80
        return (f"With {self.rows:,} more {self.nouns}, twice as many, the accuracy of the {self.head} head would be "
                f"{low:.3f} to {high:.3f} (80% interval); with the present {self.rows:,} it is {least:.3f} to "
                f"{most:.3f}.")

    @property
    def gains(self) -> bool:
        """Whether a class gains more than noise."""
        return bool(self.classes) and self.classes[0].gain_ci80[0] >= CLEAR

    @property
    def class_sentence(self) -> str:
        """Which class gains most; empty where that was not estimated."""
        if not self.classes:
            return ""
        first = self.classes[0]
        low, high = first.gain_ci80
        if not self.gains:
            return ("No class clearly gains more than noise: the largest estimate is that of "
                    f"{first.name}, {100 * first.gain:+.1f} points of recall with twice the {self.nouns} (80% "
                    f"interval {100 * low:+.1f} to {100 * high:+.1f}).")
        flat = (" The accuracy of all classes together does not measurably grow, so that other classes may lose as "
                "much.") if self.reason else ""
        return (f"The largest gain is expected for {first.name}: with twice the {self.nouns} of all classes, its "
                f"recall of {first.recall:.3f} ({first.rows:,} {self.nouns} now) would rise by {100 * first.gain:.1f} "
                f"points (80% interval {100 * low:.1f} to {100 * high:.1f}).{flat}")
