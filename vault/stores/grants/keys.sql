-- The key agent. Keys are added, and sealed anew under another root key. Of officers' records none is altered. Partitions of record_key are
-- reached through their parent alone; the agent makes one for a new version, and drops that of a destroyed one, by functions of the owner's.
GRANT SELECT ON alembic_version TO idvault_keys;
GRANT SELECT, INSERT ON deployment, officer_record TO idvault_keys;
GRANT SELECT, INSERT, UPDATE ON key, officer_head TO idvault_keys;
GRANT SELECT, INSERT, UPDATE, DELETE ON ceremony, share, request, approval, disclosure, hold, resealed TO idvault_keys;
GRANT SELECT, INSERT, UPDATE ON reviewer, agreement, budget, deepening, key_use TO idvault_keys;
GRANT SELECT, INSERT, UPDATE, DELETE ON record_key, evidence_key, intent TO idvault_keys;
GRANT SELECT, INSERT, DELETE ON person, statement_key, handoff, intent_lock, ended TO idvault_keys;
GRANT EXECUTE ON FUNCTION record_key_partition(bigint), record_key_partition_drop(bigint) TO idvault_keys;
GRANT SELECT, INSERT, UPDATE, DELETE ON leaf_count TO idvault_keys;
GRANT SELECT, INSERT, UPDATE ON log_head TO idvault_keys;
-- What was done can be added to and, once it stands in the log, goes; nothing of it is altered. The agent itself hands it
-- to the sequencer, for it alone knows the records that a leaf names.
GRANT SELECT, INSERT, DELETE ON audit_outbox TO idvault_keys;
