"""The stacked table: its rows, their optimizers, and how they are spread over devices."""
