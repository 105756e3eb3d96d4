-- Whose a resource is: the team that it was made for, whatever becomes of its request.
ALTER TABLE resources ADD COLUMN team TEXT NOT NULL DEFAULT '';

UPDATE resources SET team = (SELECT team FROM runs WHERE runs.id = resources.run)
WHERE EXISTS (SELECT 1 FROM runs WHERE runs.id = resources.run);
