"""Takes a model into use: predicts images with it."""
