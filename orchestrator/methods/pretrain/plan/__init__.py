"""Who is learned from, stopped on and judged on, and what an encoder depends on."""
