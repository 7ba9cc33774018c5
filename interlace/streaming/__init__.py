"""Fits of linear models to data that are not held in memory: rows are read in batches and summed up."""
