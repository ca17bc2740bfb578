"""Decoded pixels: where they are kept, in memory or on disk, and how batches are read from there."""
