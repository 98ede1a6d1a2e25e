"""Hydra recipes of the InternLM2 reproduction and the command that runs them."""
