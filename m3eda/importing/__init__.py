"""Designs from what a designer has: SPICE netlists and CACE datasheets."""
