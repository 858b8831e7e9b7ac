-- Workers with the identity role: sealed fields come, change and go. Nothing is kept here as evidence of an act.
GRANT SELECT ON alembic_version TO idvault_identity;
GRANT SELECT, INSERT, UPDATE, DELETE ON record, fingerprint, evidence TO idvault_identity;
-- A plan that was carried out stays so until it is forgotten.
GRANT SELECT, INSERT, DELETE ON record_fence TO idvault_identity;
