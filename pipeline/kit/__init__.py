"""What `ncs4cvr kit` copies: the client example as it is, the other files with ${...} filled in."""
