"""Runs sweeps as jobs of a cluster: ships, follows and ends them."""
