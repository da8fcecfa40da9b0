"""A session: one user's circuit with its edits, snapshots, searches and audits."""
