-- The version of the module that a resource was made by stays until its request says otherwise.
ALTER TABLE resources ADD COLUMN module TEXT; -- the version; nothing for what is made without modules
