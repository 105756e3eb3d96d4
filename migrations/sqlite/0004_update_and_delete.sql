-- What becomes of resources that a generation does not ask for any more: the deletion policy that was accepted before it.
ALTER TABLE requests ADD COLUMN removal TEXT NOT NULL DEFAULT '"Retain"';

-- Whether a resource was kept when its request asked for it no more.
ALTER TABLE resources ADD COLUMN retained INTEGER NOT NULL DEFAULT 0;

-- Who stopped the request's newest generation, by their name on the forge.
ALTER TABLE requests ADD COLUMN cancelled TEXT;
