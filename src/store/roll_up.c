/*-------------------------------------------------------------------------
 *
 * roll_up.c
 *	  The statements that roll up the ledger, usage_entry.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * One flush at a time rolls up what transactions have appended.  Entries that
 * are rolled up are deleted, but as long as anybody has an old snapshot their
 * rows and index entries stay; on a standby, until the next VACUUM.  So that
 * nobody has to look at them again, a flush begins where the last one has ended
 * (apikeys_data.ledger), and so does who reads the entries of a key or budget,
 * in the snapshot in which he reads its totals.
 *
 * That is an id up to which there is no entry that is not rolled up, and never
 * will be: it moves on only if nothing was left behind, and only to ids that no
 * open transaction may still use (ledger_writers.c).
 *
 * A node rolls up what it has recorded itself, into rows of its own.  What comes by
 * logical replication comes together with what was done to it there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "store/batch_write.h"
#include "store/ledger_writers.h"
#include "store/roll_up.h"
#include "store/spi.h"

/* Once in this time a flush looks for entries that were inserted with an old id. */
#define SEARCH_INTERVAL		USECS_PER_HOUR

#define OF_THIS_NODE(alias) alias ".node OPERATOR(pg_catalog.=) apikeys.this_node()"

/* Where the last flush has ended, and has it been searched from the start since $1? */
static Statement find_end = {
	.sql = "SELECT l.rolled_up_to, l.searched_at OPERATOR(pg_catalog.>) $1 FROM apikeys_data.ledger l"
	" WHERE " OF_THIS_NODE("l"),
	STATEMENT_ARGS(TIMESTAMPTZOID)
};

/* If ids have been restarted, which are at $2 now, all entries are to be read again. */
static Statement begin_search = {
	.sql = "INSERT INTO apikeys_data.ledger AS l (searched_at) VALUES ($1)"
	" ON CONFLICT (node) DO UPDATE SET searched_at = $1,"
	" rolled_up_to = CASE WHEN l.rolled_up_to OPERATOR(pg_catalog.<=) $2 THEN l.rolled_up_to ELSE 0 END",
	STATEMENT_ARGS(TIMESTAMPTZOID, INT8OID)
};

/* A sum of tokens, a numeric, as a bigint. */
#define SATURATED(sum) \
	"GREATEST(LEAST(" sum ", 9223372036854775807), -9223372036854775807)"

/* The sum of a total and what is added to it. */
#define ADD_TOKENS(total, added) \
	"CASE WHEN " total " OPERATOR(pg_catalog.=) 9223372036854775807 THEN " total \
	" ELSE " SATURATED(total "::pg_catalog.numeric OPERATOR(pg_catalog.+) " added) " END"

/*
 * Moves a batch of $1 entries after id $3, of which $2 are skipped, into the totals:
 * one statement deletes and counts them, so they count exactly once.  Entries of a
 * key whose totals are locked are left for later.  What a deleted key, or budget,
 * would be charged is discarded.
 *
 * A row that nobody has ever locked or tried to delete need not be locked before it
 * is deleted, which would write as much WAL again; others are passed over if they
 * are locked.  By their places, for there a row that is deleted meanwhile is not
 * found.
 *
 * Then the ledger is rolled up to: nowhere new if any of the batch was left, and
 * else to its end, or to $4 if it has seen all that there is.
 *
 * Sums of tokens saturate at the largest bigint, and stay there: what a void
 * takes back may be part of what was cut off.
 *
 * A key has at most 1,000 models on a day: others count as (other), in the order
 * of their first entry.  They do so from then on, so a void finds the row of its
 * record.
 *
 * What is done for each entry is what takes time: of batch and taken no more is
 * read than needed, and what is asked of them is asked of their groups.
 */
static Statement roll_up = {
	.sql = "WITH batch AS MATERIALIZED (SELECT e.ctid AS place, e.id, e.key_id,"
	" e.xmax OPERATOR(pg_catalog.=) 0 AS is_free"
	" FROM apikeys_data.usage_entry e WHERE e.id OPERATOR(pg_catalog.>) GREATEST($3, apikeys.first_id())"
	" AND e.id OPERATOR(pg_catalog.<=) (apikeys.first_id() OPERATOR(pg_catalog.+) 281474976710655)"
	" ORDER BY e.id LIMIT $1 OFFSET $2),"
	" unlocked AS MATERIALIZED (SELECT e.ctid AS place FROM apikeys_data.usage_entry e"
	" WHERE e.ctid OPERATOR(pg_catalog.=) ANY (ARRAY("
	"SELECT b.place FROM batch b WHERE NOT b.is_free)) FOR UPDATE SKIP LOCKED),"
	" used AS MATERIALIZED (SELECT b.key_id, pg_catalog.count(*) AS entries,"
	" pg_catalog.max(b.id) AS last_id FROM batch b GROUP BY b.key_id),"
	" unlocked_total AS MATERIALIZED (SELECT u.key_id FROM apikeys_data.usage u"
	" WHERE u.key_id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT used.key_id FROM used))"
	" AND " OF_THIS_NODE("u") " ORDER BY u.key_id FOR UPDATE SKIP LOCKED),"
	" total_of AS MATERIALIZED (SELECT u.key_id FROM apikeys_data.usage u"
	" WHERE u.key_id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT used.key_id FROM used))"
	" AND " OF_THIS_NODE("u") "),"
	" left_behind AS MATERIALIZED (SELECT used.key_id FROM used WHERE used.key_id IS NOT NULL"
	" AND NOT used.key_id OPERATOR(pg_catalog.=) ANY (SELECT t.key_id FROM unlocked_total t)"
	" AND (used.key_id OPERATOR(pg_catalog.=) ANY (SELECT t.key_id FROM total_of t)"
	" OR NOT ($5 OR apikeys.try_lock_use(used.key_id)))),"
	" taken AS (DELETE FROM apikeys_data.usage_entry e"
	" WHERE e.ctid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT b.place FROM batch b"
	" WHERE (b.is_free OR b.place OPERATOR(pg_catalog.=) ANY (SELECT u.place FROM unlocked u))"
	" AND (b.key_id IS NULL"
	" OR NOT b.key_id OPERATOR(pg_catalog.=) ANY (SELECT l.key_id FROM left_behind l))))"
	" RETURNING e.id, e.key_id, e.recorded_at, e.requests, e.tokens, e.cost, e.model,"
	" e.budget_id, e.budget_period),"
	" by_model AS MATERIALIZED (SELECT t.key_id,"
	" pg_catalog.timezone('UTC', t.recorded_at)::pg_catalog.date AS day,"
	" COALESCE(t.model, '') AS model, pg_catalog.min(t.id) AS first_id,"
	" pg_catalog.count(*) AS entries, pg_catalog.sum(t.requests) AS requests,"
	" pg_catalog.sum(t.tokens) AS tokens, pg_catalog.sum(t.cost) AS cost"
	" FROM taken t GROUP BY 1, 2, 3),"
	" result AS MATERIALIZED (SELECT s.seen, s.last_id, d.taken,"
	" CASE WHEN d.taken OPERATOR(pg_catalog.<>) s.seen THEN 0"
	" WHEN s.seen OPERATOR(pg_catalog.=) $1 THEN LEAST($4, s.last_id) ELSE $4 END AS complete_to"
	" FROM (SELECT COALESCE(pg_catalog.sum(used.entries), 0)::pg_catalog.int8 AS seen,"
	" pg_catalog.max(used.last_id) AS last_id FROM used) s"
	" CROSS JOIN (SELECT COALESCE(pg_catalog.sum(m.entries), 0)::pg_catalog.int8 AS taken"
	" FROM by_model m) d),"
	" ledger AS (UPDATE apikeys_data.ledger l SET rolled_up_to = r.complete_to FROM result r"
	" WHERE " OF_THIS_NODE("l") " AND l.rolled_up_to OPERATOR(pg_catalog.<) r.complete_to),"
	" existing AS MATERIALIZED (SELECT k.id FROM apikeys_data.key k"
	" WHERE k.id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT used.key_id FROM used))),"
	" live AS MATERIALIZED (SELECT m.*,"
	" m.model OPERATOR(pg_catalog.<>) ALL (ARRAY['', '(other)'])"
	" AND (SELECT true FROM apikeys_data.usage_day d"
	" WHERE d.key_id OPERATOR(pg_catalog.=) m.key_id AND d.day OPERATOR(pg_catalog.=) m.day"
	" AND d.model OPERATOR(pg_catalog.=) m.model"
	" AND " OF_THIS_NODE("d") ") IS NULL AS is_new"
	" FROM by_model m JOIN existing k ON k.id OPERATOR(pg_catalog.=) m.key_id),"
	" total AS (INSERT INTO apikeys_data.usage AS u"
	" (key_id, total_requests, total_tokens, total_cost)"
	" SELECT m.key_id, pg_catalog.sum(m.requests),"
	" " SATURATED("pg_catalog.sum(m.tokens)") ", pg_catalog.sum(m.cost)"
	" FROM live m GROUP BY m.key_id ORDER BY m.key_id"
	" ON CONFLICT (key_id, node) DO UPDATE SET"
	" total_requests = u.total_requests OPERATOR(pg_catalog.+) excluded.total_requests,"
	" total_tokens = " ADD_TOKENS("u.total_tokens", "excluded.total_tokens") ","
	" total_cost = u.total_cost OPERATOR(pg_catalog.+) excluded.total_cost),"
	" named AS (SELECT m.key_id, m.day, CASE WHEN m.is_new AND pg_catalog.row_number()"
	" OVER (PARTITION BY m.key_id, m.day, m.is_new ORDER BY m.first_id) OPERATOR(pg_catalog.+)"
	" (SELECT pg_catalog.count(*) FROM apikeys_data.usage_day d"
	" WHERE d.key_id OPERATOR(pg_catalog.=) m.key_id AND d.day OPERATOR(pg_catalog.=) m.day"
	" AND d.model OPERATOR(pg_catalog.<>) ALL (ARRAY['', '(other)'])"
	" AND " OF_THIS_NODE("d") ")"
	" OPERATOR(pg_catalog.>) 1000 THEN '(other)' ELSE m.model END AS model,"
	" m.requests, m.tokens, m.cost FROM live m),"
	" daily AS (INSERT INTO apikeys_data.usage_day AS d"
	" (key_id, day, model, requests, tokens, cost)"
	" SELECT n.key_id, n.day, n.model, pg_catalog.sum(n.requests),"
	" " SATURATED("pg_catalog.sum(n.tokens)") ", pg_catalog.sum(n.cost)"
	" FROM named n GROUP BY n.key_id, n.day, n.model ORDER BY n.key_id, n.day, n.model"
	" ON CONFLICT (key_id, day, model, node) DO UPDATE SET"
	" requests = d.requests OPERATOR(pg_catalog.+) excluded.requests,"
	" tokens = " ADD_TOKENS("d.tokens", "excluded.tokens") ","
	" cost = d.cost OPERATOR(pg_catalog.+) excluded.cost),"
	" by_budget AS MATERIALIZED (SELECT t.budget_id, t.budget_period, pg_catalog.sum(t.cost) AS cost"
	" FROM taken t WHERE t.budget_id IS NOT NULL GROUP BY 1, 2),"
	" budget AS MATERIALIZED (SELECT b.id, b.warn_at IS NOT NULL AS warns FROM apikeys_data.budget b"
	" WHERE b.id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT s.budget_id FROM by_budget s))),"
	" spent AS (INSERT INTO apikeys_data.budget_period AS p (budget_id, started_at, spent)"
	" SELECT s.budget_id, s.budget_period, s.cost"
	" FROM by_budget s JOIN budget b ON b.id OPERATOR(pg_catalog.=) s.budget_id"
	" ORDER BY s.budget_id, s.budget_period"
	" ON CONFLICT (budget_id, started_at, node) DO UPDATE SET"
	" spent = p.spent OPERATOR(pg_catalog.+) excluded.spent)"
	" SELECT r.seen, r.taken, r.last_id, ARRAY(SELECT b.id FROM budget b WHERE b.warns) FROM result r",
	STATEMENT_ARGS(INT4OID, INT8OID, INT8OID, INT8OID, BOOLOID)
};

static Statement read_last_id = {
	.sql = "SELECT s.last_value OPERATOR(pg_catalog.+) apikeys.first_id() FROM apikeys_data.usage_entry_id_seq s WHERE s.is_called"
};

/* Returns the last id that was given in the ledger, or 0. */
static int64
last_id(void)
{
	bool		isnull;

	if (store_read_latest(&read_last_id, NULL, NULL) == 0)
		return 0;
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/*
 * Returns the id after which a flush has to look for entries: where the last has
 * ended, but 0 once in SEARCH_INTERVAL, and if the sequence was restarted.
 */
static int64
find_entries(int64 end, TimestampTz now)
{
	Datum		row[2] = {Int64GetDatum(0), BoolGetDatum(false)};
	bool		nulls[2];

	if (store_read(&find_end, (Datum[]) {TimestampTzGetDatum(now - SEARCH_INTERVAL)}, NULL) > 0)
		heap_deform_tuple(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, row, nulls);
	if (DatumGetBool(row[1]) && DatumGetInt64(row[0]) <= end)
		return DatumGetInt64(row[0]);

	store_write_silently(&begin_search, (Datum[]) {TimestampTzGetDatum(now), Int64GetDatum(end)}, NULL);
	return 0;
}

/*
 * Begins to roll up the ledger: sets where its first batch begins, and up to which
 * id no transaction can add entries any more.  For that it waits up to wait_ms.
 * A transaction that keeps its snapshot may not see all of them.
 */
void
store_begin_roll_up(RollUp *batch, TimestampTz now, int wait_ms)
{
	StoreScope	scope;
	int64		end;

	store_open(&scope);
	end = last_id();
	batch->complete_to = ledger_writers_end(wait_ms) && !IsolationUsesXactSnapshot() ? end : 0;
	batch->after = find_entries(end, now);
	store_close(&scope);
}

/*
 * Rolls up a batch of entries, and moves on to the next.  If it has left some,
 * the batches after it do not make the ledger more complete.
 */
void
store_roll_up(RollUp *batch)
{
	StoreScope	scope;
	Datum		arguments[] = {
		Int32GetDatum(batch->limit),
		Int64GetDatum(batch->skip),
		Int64GetDatum(batch->after),
		Int64GetDatum(batch->skip == 0 ? batch->complete_to : 0),
		BoolGetDatum(batch->alone)
	};
	Datum		row[4];
	bool		nulls[4];

	Assert(batch->limit > 0 && batch->skip >= 0);

	store_open(&scope);
	store_write_batch(&roll_up, arguments);
	heap_deform_tuple(store_copy_row(), SPI_tuptable->tupdesc, row, nulls);
	store_close(&scope);

	batch->seen = DatumGetInt64(row[0]);
	batch->taken = DatumGetInt64(row[1]);
	Assert(batch->taken <= batch->seen && batch->seen <= batch->limit);
	if (batch->skip > 0 || batch->taken < batch->seen)
		batch->complete_to = 0;
	batch->skip = 0;
	if (!nulls[2])
		batch->after = DatumGetInt64(row[2]);

	/* This may allocate, in the caller's memory. */
	batch->warning_budgets = DatumGetArrayTypeP(row[3]);
}
