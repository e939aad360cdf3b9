"""The results of a run for readers: report.html, the model card, and the reports of comparisons."""
