"""The stacked table: duplicates, row-sparse optimizers, and rows spread over devices."""
