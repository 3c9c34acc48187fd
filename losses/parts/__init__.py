"""What several losses, or a loss and a clustering rule, have in common."""
