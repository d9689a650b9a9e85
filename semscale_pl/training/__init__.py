"""One run: build, fit, test, record, restore."""
