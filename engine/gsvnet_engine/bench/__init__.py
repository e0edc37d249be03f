"""`bench`: how fast this machine runs a bundle, in runs that alternate within one process."""
