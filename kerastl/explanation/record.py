"""What the run record holds of explanations: whether they passed their checks, and those that the report shows."""

from dataclasses import dataclass

from kerastl.fields import Section

ACTIVATION_MAP, COVERED, LEFT_OUT = "activation map", "covered patches", "words left out"
CORRECT, INCORRECT, UNSURE = "correct", "incorrect", "unsure"
MOST_SIMILAR = 0.5  # mean cosine between maps of the head and of one trained on permuted labels (Adebayo et al. 2018)
FEWEST = 8  # held-out rows that the checks need

Interval = tuple[float, float]


@dataclass(frozen=True)
class ExplainedRow(Section):
    """What the answer for one row rests on.

    kind: correct, incorrect or unsure (the least probable prediction of its class). label: the class that is explained.
    probability: of this class, calibrated. logit: of this class.

    contributions: of each part of the row to the logit: of an image's cells, row by row, [rows * columns]; of a text's
    units. shape: rows and columns of an image's cells. spans: for each unit of a text which text of a pair it is in (0
    or 1), and where it begins and ends there, in characters. constant: the part of the logit that belongs to no cell,
    where the cells and it add up. plain: the part of the logit by the plain features of the head `joint`.
    """

    origin: str
    kind: str
    label: str
    actual: str
    probability: float
    logit: float
    contributions: tuple[float, ...] = ()
    shape: tuple[int, ...] = ()
    spans: tuple[tuple[int, int, int], ...] = ()
    constant: float | None = None
    plain: float | None = None


@dataclass(frozen=True)
class Explanations(Section):
    """The explanations of a run, and the two checks that they have to pass, on `rows` held-out rows.

    method: how contributions are computed, empty where none are; exact: whether they add up to the logit.

    similarity: mean cosine between the maps of the head and those of a head of the same kind that was trained on
    permuted labels. marked, random: how far the logit falls on average when the quarter of a row that speaks most for
    the answer is deleted, and when a quarter elsewhere is; gain: the mean difference. withheld: whether a check failed,
    so that no explanation is shown. sentence: the result in words. note: what else the user should know. examples: the
    rows that the report shows. plain_share: of the size of their logits, what comes from the plain features of `joint`.
    """

    method: str
    exact: bool = False
    rows: int = 0
    similarity: float | None = None
    marked: float | None = None
    random: float | None = None
    gain: float | None = None
    gain_ci95: Interval | None = None
    withheld: bool = False
    sentence: str = ""
    note: str = ""
    plain_share: float | None = None
    examples: tuple[ExplainedRow, ...] = ()

    def __repr__(self) -> str:
        return f"Explanations({self.method or 'none'}{': withheld' if self.withheld else ''}; {self.sentence})"


def not_offered(reason: str) -> Explanations:
    """The record of a model that cannot be explained, and why."""
    return Explanations("", sentence=reason)


def too_few(rows: int) -> Explanations:
    """The record where too few rows are held out to check anything."""
    return Explanations("", rows=rows, withheld=True, sentence=(
        f"withheld, because they cannot be checked: {rows} held-out rows can be used, and {FEWEST} are needed"))


def checked(rows: int, noun: str, similarity: float, marked: float, random: float, gain_ci95: Interval) -> Explanations:
    """The record of the two checks. noun: of the parts, in words."""
    low, high = gain_ci95
    faults = []
    if not similarity < MOST_SIMILAR:
        faults.append("they hardly depend on what the head has learnt")
    if not low > 0:
        faults.append(f"deleting the {noun} that they mark is not shown to change the answer more than deleting others")
    figures = (f"deleting the quarter of the {noun} that speaks most for the answer lowers its logit by {marked:.2f}, "
               f"another quarter by {random:.2f} (difference {marked - random:.2f}, 95% CI {low:.2f} to {high:.2f}); "
               f"mean cosine with a head trained on permuted labels {similarity:.2f} (limit {MOST_SIMILAR}); {rows} "
               "held-out rows")
    sentence = f"withheld, because {' and '.join(faults)}: {figures}" if faults else figures
    return Explanations("", False, rows, similarity, marked, random, marked - random, gain_ci95, bool(faults), sentence)
