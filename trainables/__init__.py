"""What computes: models, training and metrics in plain PyTorch and NumPy; no Ray, files or YAML."""
