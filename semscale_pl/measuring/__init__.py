"""One measurement: a source of labelled features, one class after the other, and what is worth a warning."""
