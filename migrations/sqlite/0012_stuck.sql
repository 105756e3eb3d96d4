-- Since when a key could not be worked on, however often it was touched meanwhile; nothing while all is well.
ALTER TABLE keys ADD COLUMN failing_since INTEGER;
CREATE INDEX keys_failing ON keys (failing_since) WHERE failing_since IS NOT NULL;

-- The issue that says that landings do not go on, for as long as they do not.
ALTER TABLE repositories ADD COLUMN stuck_issue INTEGER;
