"""
Pictures and videos on disk: what people have, as planes, and planes as what people want.

PyAV and Pillow are imported when a file is opened, not before.
"""
