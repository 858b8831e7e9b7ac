-- The key agent. Keys of a sector are added; what a rotation will need is granted with it. Partitions of record_key are
-- reached through their parent alone; the agent makes one for a new version by a function of the owner's.
GRANT SELECT ON alembic_version, deployment TO idvault_keys;
GRANT SELECT, INSERT ON key TO idvault_keys;
GRANT SELECT, INSERT, UPDATE ON reviewer, agreement, budget TO idvault_keys;
GRANT SELECT, INSERT, UPDATE, DELETE ON record_key, evidence_key, intent TO idvault_keys;
GRANT SELECT, INSERT, DELETE ON person, statement_key, handoff, intent_lock TO idvault_keys;
GRANT EXECUTE ON FUNCTION record_key_partition(bigint) TO idvault_keys;
-- What was done can be added to, and neither read, altered nor taken back; how many rows wait and since when can be told.
GRANT INSERT, SELECT (minute) ON audit_outbox TO idvault_keys;

-- The sequencer takes rows out of the outbox once they stand in the log, and sees no key.
GRANT SELECT, DELETE ON audit_outbox TO idvault_keys_sequencer;
