"""Datasets, long-tailed subsets, samplers, transforms and the datamodule that joins them."""
