"""Lightning callbacks: the re-weightings that fill the slot, the recorder, the progress line."""
