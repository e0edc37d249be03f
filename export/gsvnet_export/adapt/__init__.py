"""Somebody's own segmentation network as the keyframe network of a bundle: `gsvnet-engine adapt`.

`files` reads an ONNX file safely, `foreign` finds out what the network takes and gives, `wrap` makes keyframe.onnx of
it, `videos` runs it over unlabelled video, `run` trains PF from that, and `report` measures what came out.
"""
