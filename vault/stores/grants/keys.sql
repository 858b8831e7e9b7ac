-- The key agent. Keys of a sector are added; what a rotation will need is granted with it. Partitions of record_key are
-- reached through their parent alone; the agent makes one for a new version by a function of the owner's.
GRANT SELECT ON alembic_version, deployment TO idvault_keys;
GRANT SELECT, INSERT ON key TO idvault_keys;
GRANT SELECT, INSERT, UPDATE ON reviewer, agreement, budget TO idvault_keys;
GRANT SELECT, INSERT, UPDATE, DELETE ON record_key, evidence_key, intent TO idvault_keys;
GRANT SELECT, INSERT, DELETE ON person, statement_key, handoff, intent_lock TO idvault_keys;
GRANT EXECUTE ON FUNCTION record_key_partition(bigint) TO idvault_keys;
GRANT SELECT, INSERT, UPDATE, DELETE ON leaf_count TO idvault_keys;
GRANT SELECT, INSERT, UPDATE ON log_head TO idvault_keys;
-- What was done can be added to and, once it stands in the log, goes; nothing of it is altered. The agent itself hands it
-- to the sequencer, for it alone knows the records that a leaf names.
GRANT SELECT, INSERT, DELETE ON audit_outbox TO idvault_keys;
