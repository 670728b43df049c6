"""Fine-tuning a pruned backbone on its source task: frozen head, fixed mask, resumable."""
