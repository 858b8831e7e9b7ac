-- Workers and the enrolling commands. Clients, accounts, standings and reviews become tombstones, never vanish.
GRANT SELECT ON alembic_version TO idvault_directory;
GRANT SELECT, INSERT, UPDATE ON client, provider, account, standing, review TO idvault_directory;
GRANT SELECT, INSERT, UPDATE, DELETE ON handle, person_tag, local_tag, sanction, idempotency, import, import_chunk
    TO idvault_directory;
GRANT SELECT, INSERT, DELETE ON operator, revoked, event, standing_fence TO idvault_directory;
-- What was done can be added to, and neither read, altered nor taken back; how many rows wait and since when can be told.
GRANT INSERT, SELECT (minute) ON audit_outbox TO idvault_directory;
-- Refused attempts are counted up, and never down.
GRANT SELECT, INSERT, UPDATE ON refusal TO idvault_directory;

-- The sequencer takes rows out of the outbox once they stand in the log. Of sanctions and reviews it sees what a month's
-- tally counts, and not whose they are.
GRANT SELECT ON alembic_version TO idvault_directory_sequencer;
GRANT SELECT, DELETE ON audit_outbox, refusal TO idvault_directory_sequencer;
GRANT SELECT (rung, ground, automated, source, starts, lifted, lift_reason) ON sanction TO idvault_directory_sequencer;
GRANT SELECT (kind, state, submitted, decided) ON review TO idvault_directory_sequencer;
