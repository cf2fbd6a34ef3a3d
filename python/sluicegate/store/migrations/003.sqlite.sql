-- What many requests have in common is kept once, which leaves a row a third of its size; `requests` shows both.
CREATE TABLE kinds (
    id INTEGER NOT NULL PRIMARY KEY,
    last_day BIGINT NOT NULL,           -- of the latest request, since 1970: later than its rows nobody needs a kind
    endpoint TEXT NOT NULL,
    stream SMALLINT NOT NULL,
    caller TEXT NOT NULL,
    caller_group TEXT NOT NULL,
    requested_model TEXT NOT NULL,
    model TEXT NOT NULL,
    target TEXT NOT NULL,
    upstream_model TEXT NOT NULL,
    credential TEXT NOT NULL,
    status INTEGER NOT NULL,
    error_code TEXT NOT NULL,
    outcome TEXT NOT NULL,
    input_provenance TEXT NOT NULL,
    output_provenance TEXT NOT NULL,
    price TEXT NOT NULL,
    configuration TEXT NOT NULL,
    UNIQUE (
        endpoint, stream, caller, caller_group, requested_model, model, target, upstream_model, credential, status,
        error_code, outcome, input_provenance, output_provenance, price, configuration
    )
);
CREATE TABLE request_rows (
    received_at BIGINT NOT NULL,
    instance TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    kind INTEGER NOT NULL,              -- kinds.id
    id TEXT NOT NULL,
    upstream_request_id TEXT NOT NULL,
    duration BIGINT NOT NULL,
    attempts TEXT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    cache_write_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    cost BIGINT,
    credits BIGINT,
    first_content BIGINT,
    bytes_in BIGINT NOT NULL,
    bytes_out BIGINT NOT NULL,
    upstream_bytes_in BIGINT NOT NULL,
    upstream_bytes_out BIGINT NOT NULL,
    PRIMARY KEY (received_at, instance, sequence)
) WITHOUT ROWID;
INSERT INTO kinds (
    last_day, endpoint, stream, caller, caller_group, requested_model, model, target, upstream_model, credential, status,
    error_code, outcome, input_provenance, output_provenance, price, configuration
)
SELECT
    max(received_at) / 86400000000, endpoint, stream, caller, caller_group, requested_model, model, target,
    upstream_model, credential, status, error_code, outcome, input_provenance, output_provenance, price, configuration
FROM requests
GROUP BY
    endpoint, stream, caller, caller_group, requested_model, model, target, upstream_model, credential, status,
    error_code, outcome, input_provenance, output_provenance, price, configuration;
INSERT INTO request_rows
SELECT
    received_at, instance, sequence, kinds.id, requests.id, upstream_request_id, duration, attempts, input_tokens,
    output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, cost, credits, first_content, bytes_in,
    bytes_out, upstream_bytes_in, upstream_bytes_out
FROM requests JOIN kinds USING (
    endpoint, stream, caller, caller_group, requested_model, model, target, upstream_model, credential, status,
    error_code, outcome, input_provenance, output_provenance, price, configuration
);
DROP TABLE requests;
-- A cross join is done in the order it is written in: rows by their key, each one's kind by its number.
CREATE VIEW requests AS
SELECT
    received_at, instance, sequence, request_rows.id, upstream_request_id, endpoint, stream, duration, caller,
    caller_group, requested_model, model, target, upstream_model, credential, attempts, status, error_code, outcome,
    input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, input_provenance,
    output_provenance, cost, credits, price, configuration, first_content, bytes_in, bytes_out, upstream_bytes_in,
    upstream_bytes_out
FROM request_rows CROSS JOIN kinds ON kinds.id = request_rows.kind;
