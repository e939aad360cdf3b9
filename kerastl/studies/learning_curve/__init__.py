"""How accuracy grows with the number of labelled rows, and how many more rows an accuracy would take."""
