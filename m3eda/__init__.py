"""m3eda: a SPICE decorator that sizes analog circuits on the designer's own simulator."""

__version__ = "0.1.0"
