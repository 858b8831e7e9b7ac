-- Workers serve the log, and write none of it.
GRANT SELECT ON alembic_version, drained TO idvault_log;

-- The sequencer alone writes it, and takes nothing back.
GRANT SELECT, INSERT ON drained TO idvault_log_sequencer;
