-- SPDX-License-Identifier: PostgreSQL

-- Figures for operators.

CREATE FUNCTION apikeys.read_stats(
    OUT since timestamptz, OUT shared_memory boolean, OUT valid bigint,
    OUT not_found bigint, OUT revoked bigint, OUT expired bigint, OUT disabled bigint,
    OUT forbidden bigint, OUT insufficient_permissions bigint, OUT rate_limited bigint,
    OUT budget_exceeded bigint, OUT cache_hits bigint, OUT cache_misses bigint,
    OUT cache_invalidations bigint, OUT entries_used bigint, OUT entries_free bigint,
    OUT pending bigint, OUT evictions bigint, OUT dropped bigint, OUT flushes bigint,
    OUT rows_flushed bigint, OUT flush_errors bigint, OUT workers_started bigint,
    OUT workers_not_started bigint, OUT last_flush_at timestamptz,
    OUT last_flush_error text, OUT last_flush_error_at timestamptz) RETURNS record
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'apikeys_read_stats';
COMMENT ON FUNCTION apikeys.read_stats() IS 'Figures of the view apikeys.stats.';

CREATE VIEW apikeys.stats AS
SELECT s.since,
       s.shared_memory,
       s.valid,
       s.not_found,
       s.revoked,
       s.expired,
       s.disabled,
       s.forbidden,
       s.insufficient_permissions,
       s.rate_limited,
       s.budget_exceeded,
       s.cache_hits,
       s.cache_misses,
       s.cache_invalidations,
       s.entries_used,
       s.entries_free,
       s.pending,
       s.evictions,
       s.dropped,
       s.flushes,
       s.rows_flushed,
       s.flush_errors,
       s.last_flush_at,
       s.workers_started,
       s.workers_not_started,
       s.last_flush_error,
       s.last_flush_error_at
FROM apikeys.read_stats() s;
COMMENT ON VIEW apikeys.stats IS 'What operators read: verifies by outcome, table fill, flushes, of the whole server.';
