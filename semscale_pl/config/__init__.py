"""Composing, checking and explaining a configuration; nothing here imports torch or trains."""
