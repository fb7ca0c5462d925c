"""Engines that run the networks for real: OpenVINO and ONNX Runtime."""
