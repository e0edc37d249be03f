"""Readers of training data: labelled stills (CamVid, Cityscapes, machine-labelled frames), unlabelled clips."""
