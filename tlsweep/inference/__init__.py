"""Takes a model into use: predicts images with it, and writes it in formats that other programs read."""
