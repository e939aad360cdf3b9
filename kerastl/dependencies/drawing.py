"""Dependency trees as inline SVG: arcs over the words. Colours come from the page's style sheet."""

from dataclasses import dataclass
from html import escape

from kerastl.dependencies.scorer import correct_words
from kerastl.display import visible
from kerastl.tokens.sentences import Sentence

LETTER, LETTER_SMALL, GAP = 8.2, 6.2, 18.0  # widths in pixels, estimated: an SVG cannot measure its text
LEVEL, LINE, FOOT = 26, 18, 8


@dataclass(frozen=True)
class _Arc:
    """dependent, head: places of words, from 0; head -1: the root."""

    dependent: int
    head: int
    relation: str
    css: str

    @property
    def ends(self) -> tuple[int, int]:
        return min(self.dependent, self.head), max(self.dependent, self.head)


def draw_tree(predicted: Sentence, gold: Sentence | None = None) -> str:
    """A predicted tree over the words of a sentence. With the given tree `gold`, arcs whose head or relation (without
    its subtype) is incorrect are marked, and the given ones are drawn below the words."""
    correct = [True] * len(predicted) if gold is None else correct_words(gold, predicted)[1].tolist()
    above = [_Arc(i, head - 1, relation, "" if correct[i] else "incorrect")
             for i, (head, relation) in enumerate(zip(predicted.heads, predicted.relations, strict=True))]
    below = [] if gold is None else [
        _Arc(i, gold.heads[i] - 1, gold.relations[i], "given") for i in range(len(gold)) if not correct[i]]
    centres, width = _centres(predicted, [*above, *below])
    high, low = _levels(above), _levels(below)
    base = (max(high.values(), default=0) + 1) * LEVEL + LINE  # of the arcs over the words
    floor = base + LINE + FOOT
    height = floor + (max(low.values(), default=-1) + 1) * LEVEL + (LINE + FOOT if below else 0)
    words = [f'<text x="{x:.0f}" y="{base + LINE}">{escape(visible(word))}</text>'
             for x, word in zip(centres, predicted.words, strict=True)]
    arcs = [_drawn(arc, high[arc], centres, base, -1) for arc in above] \
        + [_drawn(arc, low[arc], centres, floor, 1) for arc in below]
    title = escape(visible("Dependency tree of: " + " ".join(predicted.words)))
    return (f'<svg class="tree" width="{width:.0f}" height="{height}" viewBox="0 0 {width:.0f} {height}" role="img">'
            f"<title>{title}</title>" + "".join([*arcs, *words]) + "</svg>")


def _centres(sentence: Sentence, arcs: list[_Arc]) -> tuple[list[float], float]:
    """The middle of each word, such that the label of an arc between neighbours fits; and the width of all."""
    between = [0.0] * (len(sentence) + 1)  # least distance of a word from the one before
    for arc in arcs:
        first, last = arc.ends
        if arc.head >= 0 and last - first == 1:
            between[last] = max(between[last], len(visible(arc.relation)) * LETTER_SMALL + 10)
    at: list[float] = []
    end = GAP
    for i, word in enumerate(sentence.words):
        half = max(len(visible(word)) * LETTER, 26) / 2
        centre = end + half
        if i:
            centre = max(centre, at[-1] + between[i])
        at.append(centre)
        end = centre + half + GAP
    return at, end


def _levels(arcs: list[_Arc]) -> dict[_Arc, int]:
    """How far from the words each arc is drawn, from 0: above all arcs that it covers; the root above all."""
    levels: dict[_Arc, int] = {}
    for arc in sorted(arcs, key=lambda arc: (arc.head < 0, arc.ends[1] - arc.ends[0])):
        if arc.head < 0:  # the last by the order above
            levels[arc] = max(levels.values(), default=-1) + 1
            continue
        first, last = arc.ends
        under = [level for other, level in levels.items()
                 if other.head >= 0 and other.ends[0] < last and first < other.ends[1]]
        levels[arc] = max(under, default=-1) + 1
    return levels


def _drawn(arc: _Arc, level: int, centres: list[float], base: float, down: int) -> str:
    """One arc with its relation, over the words (`down` -1) or below them (1)."""
    label, x = escape(visible(arc.relation)), centres[arc.dependent]
    if arc.head < 0:  # a line that comes from outside
        end = base + down * (level + 1) * LEVEL
        y = end + down * 4 + (9 if down > 0 else 0)
        return (f'<g class="{arc.css}"><line x1="{x:.0f}" y1="{base}" x2="{x:.0f}" y2="{end}"/>'
                f'<text class="relation" x="{x:.0f}" y="{y:.0f}">{label}</text></g>')
    head = centres[arc.head]
    start = head + (6 if x > head else -6)  # so that arcs that meet at a head can be told apart
    top = base + down * (level + 1) * LEVEL
    bend = min(14.0, abs(x - start) / 2) * (1 if x > start else -1)
    y = top - 4 if down < 0 else top + 12
    tip = f"M{x - 3:.0f},{base + down * 6} L{x:.0f},{base} L{x + 3:.0f},{base + down * 6}"
    return (f'<g class="{arc.css}"><path d="M{start:.0f},{base} C{start:.0f},{top} {start:.0f},{top} '
            f'{start + bend:.0f},{top} L{x - bend:.0f},{top} C{x:.0f},{top} {x:.0f},{top} {x:.0f},{base} {tip}"/>'
            f'<text class="relation" x="{(start + x) / 2:.0f}" y="{y:.0f}">{label}</text></g>')
