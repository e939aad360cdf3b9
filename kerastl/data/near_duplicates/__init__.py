"""Near-duplicates, found from content alone: `images` and `texts` compare, `candidates` avoids comparing all pairs,
`groups` joins pairs to groups, `search` does all of it for examples, and `apply` keeps groups from leaking."""
