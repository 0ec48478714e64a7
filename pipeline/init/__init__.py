"""`ncs4cvr init`: looks at a user's log, and writes a recipe for it."""
