"""How a model is fitted: prepare, objective, optimize, finish; options, checks and the record of a fit."""
