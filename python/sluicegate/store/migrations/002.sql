-- Keys that were made while the gateway was there; those of its configuration are not among them. Times are microseconds
-- since 1970. No key is ever deleted: rows name it, so nobody else gets its name.
CREATE TABLE keys (
    name TEXT NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL,            -- counts the changes of all keys: who has read up to one reads on from there
    digest TEXT NOT NULL,               -- BLAKE2b-256 of the key, in hexadecimal
    shown TEXT NOT NULL,                -- its first characters, for people
    former TEXT NOT NULL,               -- the digest before the last rotation
    former_until BIGINT NOT NULL,       -- and how long that one is still good
    key_group TEXT NOT NULL,
    models TEXT NOT NULL,               -- JSON: patterns of names
    limits TEXT NOT NULL,               -- JSON: as under `keys` in the configuration
    created BIGINT NOT NULL,
    rotated BIGINT,
    expires BIGINT,
    revoked BIGINT
);
CREATE UNIQUE INDEX keys_version ON keys (version);
CREATE UNIQUE INDEX keys_digest ON keys (digest);

-- What one key has used.
CREATE INDEX daily_caller ON daily (caller, day);
