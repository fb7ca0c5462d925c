"""
The networks of the codec, in torch: what they are, their training and their export.

    tier -> layer -> prior -> network -> inference          networks
    config, data, loss, optimiser, start, validation -> run -> train      training
    graph -> export                                          bundle and ONNX graphs

A leaf: nothing else in rtcodec imports it, and only training and exporting need torch. `graph`
needs onnx alone. `weights/` holds the models that ship.
"""
