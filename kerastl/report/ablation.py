"""The report's table of an ablation: what each part of a blend is worth. Of a run record, so it reads again later."""

from typing import Any

from markupsafe import Markup, escape

SHADE = {"helped": "good", "hurt": "bad", "unclear": ""}


def ablation_section(ablation: dict[str, Any] | None) -> Markup:
    """A section of the page; nothing where a run has none. ablation: as `studies.ablation.Ablation` is recorded."""
    if ablation is None:
        return Markup("")
    words = Markup("").join(
        Markup('<p class="{}"><b>{}</b> <span class="soft small">McNemar p {} (of first answers)</span></p>').format(
            SHADE[one["verdict"]], one["word"], f"{one['p']:.2g}") for one in ablation["contrasts"])
    lines = Markup("").join(
        Markup('<tr><td>{}</td><td>{}</td><td>{} to {}</td><td>{}</td><td class="wide">{}</td></tr>').format(
            one["name"], f"{_mean(one):.3f}", f"{min(one['accuracies']):.3f}", f"{max(one['accuracies']):.3f}",
            len(one["accuracies"]), one["head"]) for one in ablation["arms"])
    return Markup("<section><h2>What is each part worth?</h2>{}<div class=\"scroll\"><table><tr><th>features</th>"
                  '<th>accuracy</th><th>worst to best seed</th><th>seeds</th><th class="name">head</th></tr>{}</table>'
                  '</div><p class="soft small">On {} ({} rows), which chose nothing here: the head that was asked for '
                  "ships, whatever this says. A gain's interval is of the same rows, answered by both.</p></section>"
                  ).format(words, lines, escape(ablation["rows"]), ablation["n"])


def _mean(arm: dict[str, Any]) -> float:
    return float(sum(arm["accuracies"]) / len(arm["accuracies"]))
