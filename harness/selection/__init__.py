"""Which (trial, epoch) a row reports: the selection protocols."""
