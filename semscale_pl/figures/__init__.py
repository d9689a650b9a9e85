"""Drawing functions: plain data in, a matplotlib figure out, all in one style."""
