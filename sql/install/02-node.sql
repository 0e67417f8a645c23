-- SPDX-License-Identifier: PostgreSQL

-- Which server wrote a row, where several replicate their tables to each other.

CREATE FUNCTION apikeys.this_node() RETURNS integer
LANGUAGE C STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_this_node';
COMMENT ON FUNCTION apikeys.this_node() IS 'The value of apikeys.node: what this server writes into its rows of usage.';

-- The nodes share the ids of tables that only grow, 2^48 each: so these need no
-- column for it, and the longest index of all no second one.
CREATE FUNCTION apikeys.first_id() RETURNS bigint
LANGUAGE C STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'apikeys_first_id';
COMMENT ON FUNCTION apikeys.first_id() IS 'The ids of this node begin after it: apikeys.node * 2^48.';

CREATE FUNCTION apikeys.next_id(sequence regclass) RETURNS bigint
LANGUAGE C VOLATILE STRICT
AS 'MODULE_PATHNAME', 'apikeys_next_id';
COMMENT ON FUNCTION apikeys.next_id(regclass) IS 'The next of the ids of this node.';

CREATE FUNCTION apikeys.keep_local() RETURNS trigger
LANGUAGE C
AS 'MODULE_PATHNAME', 'apikeys_keep_local';
COMMENT ON FUNCTION apikeys.keep_local() IS 'Trigger: skips what logical replication brings to a table that each server fills for itself.';
