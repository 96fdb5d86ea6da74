"""Where requests come from, whether they are believed, and the record of who did what."""
