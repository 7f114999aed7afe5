"""How far source batches are from the target: features, exact EMD, the score table, tau."""
