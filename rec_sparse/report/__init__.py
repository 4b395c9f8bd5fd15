"""What a study says, for people: charts, tables and the page."""
