"""The report's section about an ablation: what each part of a blend contributes."""

from markupsafe import Markup, escape

from kerastl.versions.sections import Ablation

STYLE = {"helped": "good", "hurt": "bad", "unclear": ""}


def ablation_section(ablation: Ablation | None) -> Markup:
    """A section of the page; nothing for a run without an ablation."""
    if ablation is None:
        return Markup("")
    verdicts = Markup("").join(
        Markup('<p class="{}"><b>{}</b> <span class="soft small">McNemar test, first seed: p = {}</span></p>'
               ).format(STYLE[contrast.verdict], contrast.sentence, f"{contrast.p:.2g}")
        for contrast in ablation.contrasts)
    rows = Markup("").join(
        Markup('<tr><td>{}</td><td>{}</td><td>{} to {}</td><td>{}</td><td class="wide">{}</td></tr>').format(
            arm.name, f"{arm.accuracy:.3f}", f"{min(arm.accuracies):.3f}", f"{max(arm.accuracies):.3f}",
            len(arm.accuracies), arm.head) for arm in ablation.arms)
    return Markup('<section><h2>What each part contributes</h2>{}<div class="scroll"><table><tr><th>features</th>'
                  '<th>accuracy</th><th>range over seeds</th><th>seeds</th><th class="name">head</th></tr>{}</table>'
                  '</div><p class="soft small">Evaluated on {} ({} rows), which were not used for model selection: the '
                  "requested head is exported regardless of this table. The confidence interval of a gain is "
                  "that of the paired difference on the same rows.</p></section>"
                  ).format(verdicts, rows, escape(ablation.rows), ablation.n)
