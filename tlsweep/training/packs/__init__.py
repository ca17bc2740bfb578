"""Small trials that are trained together: their networks in a stack, who is in it, and whose turn it is."""
