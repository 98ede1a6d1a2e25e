"""Proximal policy optimisation with four models of one size (report section 4.2.3)."""
