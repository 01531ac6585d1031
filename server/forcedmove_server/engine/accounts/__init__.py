"""Real accounts, as files tell of them, against margin rules, the leverage prior and our maps."""
