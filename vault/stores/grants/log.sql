-- Workers serve the log, and write none of it; what lies sealed beside it is not theirs to see.
GRANT SELECT ON alembic_version, leaf, tile, checkpoint, daily, tally, drained TO idvault_log;

-- The sequencer alone writes it, and takes nothing back: leaves are added and counted, the last tile of a level grows, a
-- checkpoint is given the signatures of witnesses.
GRANT SELECT ON alembic_version TO idvault_log_sequencer;
GRANT SELECT, INSERT ON leaf, detail, drained, tally TO idvault_log_sequencer;
GRANT SELECT, INSERT, DELETE ON unsettled TO idvault_log_sequencer;
GRANT SELECT, INSERT, UPDATE ON tile, checkpoint, daily TO idvault_log_sequencer;
