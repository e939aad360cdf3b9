"""Questions answered by training several models: comparison, ablation, search, few-shot learning, distillation."""
