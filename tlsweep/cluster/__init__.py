"""Starts or joins the Ray that a sweep runs on: nodes, token, preflight, metrics."""
