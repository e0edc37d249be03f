"""How good a bundle's labels are: against ground truth by the paper's protocol, and against itself on any video."""
