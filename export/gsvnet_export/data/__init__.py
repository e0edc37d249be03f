"""Readers of training data: labelled stills (CamVid, Cityscapes, machine-labelled frames of clips) and unlabelled clips."""
