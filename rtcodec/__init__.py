"""
A real-time neural video codec and relay.

Importing this package loads the standard library and numpy only.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
