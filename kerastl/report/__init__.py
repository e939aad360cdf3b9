"""What a run found out, for people: report.html and the model card."""
