"""Export of step graphs: plans, backends, bundles and the check that they agree with PyTorch."""
