"""The collection advisor put to the test: real samples are hidden and revealed as it says, or as rivals say."""
