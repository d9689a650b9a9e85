"""Backbones (images to features) and classifier heads (features to logits)."""
