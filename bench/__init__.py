"""Figures beside the floor programs."""
