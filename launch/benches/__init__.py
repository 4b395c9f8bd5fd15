"""What launch.bench measures: one file per --what, each a generator of figures."""
