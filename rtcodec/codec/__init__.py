"""Planes to access units and back, over any engine."""
