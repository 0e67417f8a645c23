-- SPDX-License-Identifier: PostgreSQL

-- Figures for operators.

CREATE TYPE apikeys_data.server_stats AS (
    since timestamptz,
    shared_memory boolean,
    valid bigint,
    not_found bigint,
    revoked bigint,
    expired bigint,
    disabled bigint,
    forbidden bigint,
    insufficient_permissions bigint,
    rate_limited bigint,
    budget_exceeded bigint,
    cache_hits bigint,
    cache_misses bigint,
    cache_invalidations bigint,
    entries_used bigint,
    entries_free bigint,
    entries_limited bigint,
    entries_other_databases bigint,
    pending bigint,
    evictions bigint,
    dropped bigint,
    refused bigint,
    reclaimed bigint,
    flushes bigint,
    rows_flushed bigint,
    flush_errors bigint,
    workers_started bigint,
    workers_not_started bigint,
    last_flush_at timestamptz,
    last_flush_error text,
    last_flush_error_at timestamptz,
    cache_entries bigint,
    cache_bytes bigint,
    cache_evictions bigint
);
COMMENT ON TYPE apikeys_data.server_stats IS 'Columns of the view apikeys.stats: all but those of the feed.';

CREATE FUNCTION apikeys.read_stats() RETURNS apikeys_data.server_stats
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'apikeys_read_stats';
COMMENT ON FUNCTION apikeys.read_stats() IS 'One row, that of the view apikeys.stats; null where there is no shared memory.';

CREATE VIEW apikeys.stats AS
SELECT s.*, f.*
FROM apikeys.read_stats() s, apikeys.read_feed() f;
COMMENT ON VIEW apikeys.stats IS 'One row of statistics for the whole server since its start: verifies by outcome, use of caches and of the table of tracked keys, flushes.';

COMMENT ON COLUMN apikeys.stats.since IS 'When counting started: at the start of the server.';
COMMENT ON COLUMN apikeys.stats.shared_memory IS 'False where there is no shared memory; all other columns are then null.';
COMMENT ON COLUMN apikeys.stats.valid IS 'Verifies that ended with VALID.';
COMMENT ON COLUMN apikeys.stats.not_found IS 'Verifies, and calls of apikey_derive, that ended with NOT_FOUND.';
COMMENT ON COLUMN apikeys.stats.revoked IS 'Verifies, and calls of apikey_derive, that ended with REVOKED.';
COMMENT ON COLUMN apikeys.stats.expired IS 'Verifies, and calls of apikey_derive, that ended with EXPIRED.';
COMMENT ON COLUMN apikeys.stats.disabled IS 'Verifies, and calls of apikey_derive, that ended with DISABLED.';
COMMENT ON COLUMN apikeys.stats.forbidden IS 'Verifies that ended with FORBIDDEN.';
COMMENT ON COLUMN apikeys.stats.insufficient_permissions IS 'Verifies that ended with INSUFFICIENT_PERMISSIONS.';
COMMENT ON COLUMN apikeys.stats.rate_limited IS 'Verifies that ended with RATE_LIMITED.';
COMMENT ON COLUMN apikeys.stats.budget_exceeded IS 'Verifies that ended with BUDGET_EXCEEDED.';
COMMENT ON COLUMN apikeys.stats.cache_hits IS 'Look-ups of keys that were answered from memory: the backend''s own, or what all share.';
COMMENT ON COLUMN apikeys.stats.cache_misses IS 'Look-ups of keys that had to read the table.';
COMMENT ON COLUMN apikeys.stats.cache_invalidations IS 'How often a backend has forgotten a cached key because it, its plan or its parent had changed, or emptied its cache because everything might have.';
COMMENT ON COLUMN apikeys.stats.entries_used IS 'Entries of the shared table (apikeys.max_tracked_keys) that belong to a key.';
COMMENT ON COLUMN apikeys.stats.entries_free IS 'Entries of the shared table that are free.';
COMMENT ON COLUMN apikeys.stats.entries_limited IS 'Used entries with a rate-limit window that still counts or with a reservation: evicted only if all of it is stored.';
COMMENT ON COLUMN apikeys.stats.entries_other_databases IS 'Used entries of other databases than this one.';
COMMENT ON COLUMN apikeys.stats.pending IS 'Used entries whose last use is yet to be written: not evicted.';
COMMENT ON COLUMN apikeys.stats.evictions IS 'Entries that were given to another key; nothing was lost, as all of it is stored.';
COMMENT ON COLUMN apikeys.stats.dropped IS 'Last uses, and tokens that should count against a limit, that were lost because the table was full.';
COMMENT ON COLUMN apikeys.stats.refused IS 'Requests that were refused because the table was full: RATE_LIMITED, or 53400 for want of reservations.';
COMMENT ON COLUMN apikeys.stats.reclaimed IS 'Entries that were freed because no key of their family can be used any more.';
COMMENT ON COLUMN apikeys.stats.flushes IS 'Committed transactions that have written what was pending.';
COMMENT ON COLUMN apikeys.stats.rows_flushed IS 'Rows that flushes have written.';
COMMENT ON COLUMN apikeys.stats.flush_errors IS 'Errors of flush workers.';
COMMENT ON COLUMN apikeys.stats.workers_started IS 'Flush workers that were started.';
COMMENT ON COLUMN apikeys.stats.workers_not_started IS 'Times that the launcher or a flush worker could not be started because max_worker_processes was used up.';
COMMENT ON COLUMN apikeys.stats.last_flush_at IS 'When the latest flush was committed.';
COMMENT ON COLUMN apikeys.stats.last_flush_error IS 'Latest error of a flush worker, with raw keys masked; null if there was none.';
COMMENT ON COLUMN apikeys.stats.last_flush_error_at IS 'When last_flush_error happened.';
COMMENT ON COLUMN apikeys.stats.cache_entries IS 'Keys in the memory that all backends share (apikeys.cache_memory), with those that have changed and were not asked for since; null if there is none.';
COMMENT ON COLUMN apikeys.stats.cache_bytes IS 'What these take of it.';
COMMENT ON COLUMN apikeys.stats.cache_evictions IS 'Keys that have left it because others needed the space.';
COMMENT ON COLUMN apikeys.stats.feed_state IS 'On a standby: up if it tells the server that it follows of its use, catching up, down, off (apikeys.feed_interval is 0), no extension, or left out (it tells of 16 other databases). Null on a primary.';
COMMENT ON COLUMN apikeys.stats.feed_succeeded_at IS 'When that server was last told of all use in this database, and all that others had used was known here; null if never.';
COMMENT ON COLUMN apikeys.stats.feed_lag IS 'How long ago that was.';
COMMENT ON COLUMN apikeys.stats.feed_error IS 'Latest error of the feed; null if there was none.';
COMMENT ON COLUMN apikeys.stats.feed_error_at IS 'When feed_error happened.';
