-- What a request left: one row, whatever became of it. Times are microseconds (received_at since 1970, the others
-- durations), money is nano-dollars, tokens have the one meaning of docs/CONTRACT.md. A cost or credits that are NULL
-- are not known: there was no price.
CREATE TABLE requests (
    received_at BIGINT NOT NULL,
    instance TEXT NOT NULL,             -- the spool it came from; with the sequence: which record
    sequence BIGINT NOT NULL,
    id TEXT NOT NULL,
    upstream_request_id TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    stream SMALLINT NOT NULL,
    duration BIGINT NOT NULL,
    caller TEXT NOT NULL,
    caller_group TEXT NOT NULL,
    requested_model TEXT NOT NULL,
    model TEXT NOT NULL,
    target TEXT NOT NULL,
    upstream_model TEXT NOT NULL,
    credential TEXT NOT NULL,
    attempts TEXT NOT NULL,             -- JSON, where there was more than one
    status INTEGER NOT NULL,
    error_code TEXT NOT NULL,
    outcome TEXT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    cache_write_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    input_provenance TEXT NOT NULL,
    output_provenance TEXT NOT NULL,
    cost BIGINT,
    credits BIGINT,
    price TEXT NOT NULL,                -- prices.version
    configuration TEXT NOT NULL,
    first_content BIGINT,
    bytes_in BIGINT NOT NULL,
    bytes_out BIGINT NOT NULL,
    upstream_bytes_in BIGINT NOT NULL,
    upstream_bytes_out BIGINT NOT NULL,
    -- In the order of time, so that a day is read, and an old one deleted, without another index.
    PRIMARY KEY (received_at, instance, sequence)
)
--sqlite: WITHOUT ROWID
;

-- The sums of a day (UTC), kept when its rows are gone. Sums stop at 2^63 - 1.
CREATE TABLE daily (
    day TEXT NOT NULL,
    model TEXT NOT NULL,
    target TEXT NOT NULL,
    caller TEXT NOT NULL,
    caller_group TEXT NOT NULL,
    requests BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    cache_write_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    credits BIGINT NOT NULL,
    unpriced BIGINT NOT NULL,           -- requests whose cost is not known
    PRIMARY KEY (day, model, target, caller, caller_group)
)
--sqlite: WITHOUT ROWID
;

-- How far each spool has been read; moved in the transaction that writes what was read.
CREATE TABLE spools (
    instance TEXT NOT NULL PRIMARY KEY,
    segment BIGINT NOT NULL,
    place BIGINT NOT NULL
);

-- Requests that were still running when the segment of their admission was removed.
CREATE TABLE running (
    instance TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    record TEXT NOT NULL,               -- the admission as it stood in the spool, in hexadecimal
    PRIMARY KEY (instance, sequence)
);

-- Every price that ever made a row's cost.
CREATE TABLE prices (
    version TEXT NOT NULL PRIMARY KEY,
    price TEXT NOT NULL                 -- JSON
);
