"""Choosing k samples that stand for a class: by the volume they span, by their mean, by what they cover."""
