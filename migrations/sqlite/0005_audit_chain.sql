-- Audit records are sealed into a chain: each digest is made from the one before it and the record (domain::audit).
ALTER TABLE audit ADD COLUMN rules TEXT;  -- the accepted landfall.yaml that was in force, by its blob
ALTER TABLE audit ADD COLUMN digest TEXT; -- nothing until the sealer has come by

CREATE INDEX audit_unsealed ON audit (sequence) WHERE digest IS NULL;
CREATE INDEX audit_by_repository ON audit (repository, sequence);

-- Faults of ours are stopped here. Whoever can change the database can drop these triggers; the chain is for them.
CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit
BEGIN
    SELECT RAISE(ABORT, 'audit records are kept');
END;

CREATE TRIGGER audit_is_not_replaced BEFORE INSERT ON audit
WHEN NEW.digest IS NOT NULL OR EXISTS (SELECT 1 FROM audit WHERE sequence = NEW.sequence)
BEGIN
    SELECT RAISE(ABORT, 'audit records are appended, and sealed afterwards');
END;

CREATE TRIGGER audit_is_sealed_once BEFORE UPDATE ON audit
WHEN OLD.digest IS NOT NULL OR NEW.digest IS NULL
    OR NEW.sequence IS NOT OLD.sequence OR NEW.at IS NOT OLD.at OR NEW.repository IS NOT OLD.repository
    OR NEW.rules IS NOT OLD.rules OR NEW.record IS NOT OLD.record
    OR EXISTS (SELECT 1 FROM audit WHERE sequence = OLD.sequence - 1 AND digest IS NULL)
BEGIN
    SELECT RAISE(ABORT, 'audit records are not changed, and sealed once and in order');
END;
