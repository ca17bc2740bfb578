"""Moves the weights: what a step minimises, its optimizer, learning rate and loss scale, and the moving average."""
