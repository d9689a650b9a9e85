"""The claims of the paper, what was measured of each, and the verdict that follows by a stated rule."""
