"""Says what is searched and how: distributions, strategies, control arms and studies."""
