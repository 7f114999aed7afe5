"""The method pretrain: source encoders, trained in different ways, and judged without a target."""
