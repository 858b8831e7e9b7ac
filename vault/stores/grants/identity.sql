-- Workers with the identity role: sealed fields come, change and go. Nothing is kept here as evidence of an act.
GRANT SELECT ON alembic_version TO idvault_identity;
GRANT SELECT, INSERT, UPDATE, DELETE ON record, fingerprint, evidence TO idvault_identity;
