"""Training of keyframe networks (keyframe.py) and of PF (propagation.py) over one resumable loop (loop.py)."""
