"""
Pictures of which any prefix decodes, from a thumbnail to visually lossless (SPEC.md).

Wavelets and bit planes in C, one payload for all of a picture. May not know files, models or video.
"""
