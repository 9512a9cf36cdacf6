"""Stage archive: every version of a family's package in a git repository, and the proof that it is so."""
