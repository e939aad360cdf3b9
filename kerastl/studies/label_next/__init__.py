"""Which rows to label next: those that are proposed, and what that gains over drawing rows at random."""
