"""Supervision of real processes: what starts, watches and ends them."""
