-- SPDX-License-Identifier: PostgreSQL

-- Monitoring roles have the level stats by default.
GRANT USAGE ON SCHEMA apikeys TO pg_monitor;
GRANT SELECT ON apikeys.stats, apikeys.servers TO pg_monitor;
GRANT EXECUTE ON FUNCTION apikeys.read_stats(), apikeys.read_feed(), apikeys.read_servers() TO pg_monitor;
