"""The re-weightings that fill the slot between features and loss."""
