"""Who may use how much: one lease algorithm and the authorities that grant by it."""
