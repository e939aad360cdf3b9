"""The results of a run, for people: report.html, the model card, and the pages of comparisons."""
