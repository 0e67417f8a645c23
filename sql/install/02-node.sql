-- SPDX-License-Identifier: PostgreSQL

-- Which server wrote a row, where several replicate their tables to each other.

CREATE FUNCTION apikeys.this_node() RETURNS integer
LANGUAGE C STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_this_node';
COMMENT ON FUNCTION apikeys.this_node() IS 'The value of apikeys.node: what this server writes into its rows of usage.';

CREATE FUNCTION apikeys.keep_local() RETURNS trigger
LANGUAGE C
AS 'MODULE_PATHNAME', 'apikeys_keep_local';
COMMENT ON FUNCTION apikeys.keep_local() IS 'Trigger: skips what logical replication brings to a table that each server fills for itself.';
