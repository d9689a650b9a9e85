"""LightningModules with the slot for a re-weighting."""
