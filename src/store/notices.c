/*-------------------------------------------------------------------------
 *
 * notices.c
 *	  The statements on apikeys_data.key_notice.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A row says when the end of a key is to be looked at next, by expires_at or by
 * its idleness.  A use moves the latter without touching the row, but only to a
 * later time: what is looked at too early is planned again.  What a notice is
 * about is kept in the row, and the event is written in the same transaction,
 * so each is given once, whoever gives it.
 *
 * A trigger clears the plan of a key that has changed.  It waits for nobody but
 * a batch that is being given, and that batch skips what the trigger has locked.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "store/notices.h"
#include "store/spi.h"
#include "store/write_latest.h"

static Statement plan_notices = {
	.sql = "INSERT INTO apikeys_data.key_notice (key_id, by_idleness)"
	" SELECT k, r.by_idleness FROM pg_catalog.unnest($1) k,"
	" (VALUES (false, $2), (true, $3)) r(by_idleness, wanted)"
	" WHERE r.wanted"
	" ON CONFLICT (key_id, by_idleness) DO UPDATE SET planned_for = '', look_at = NULL",
	STATEMENT_ARGS(UUIDARRAYOID, BOOLOID, BOOLOID)
};

static Statement remove_notices = {
	.sql = "DELETE FROM apikeys_data.key_notice WHERE key_id OPERATOR(pg_catalog.=) ANY ($1)",
	STATEMENT_ARGS(UUIDARRAYOID)
};

/*
 * Rows that are to be looked at at $2, by the setting $1: those that are due,
 * and those that were planned for another setting.  One statement for each range
 * of the index: the planner would not use it for all at once.
 */
#define LOCK_NOTICES(condition, ordering) { \
	.sql = "SELECT pg_catalog.array_agg(d.key_id), pg_catalog.array_agg(d.by_idleness) FROM (" \
	"SELECT n.key_id, n.by_idleness FROM apikeys_data.key_notice n" \
	" WHERE " condition " ORDER BY " ordering " LIMIT $3 FOR UPDATE SKIP LOCKED) d", \
	STATEMENT_ARGS(TEXTOID, TIMESTAMPTZOID, INT4OID) \
}

static Statement lock_notices[] = {
	LOCK_NOTICES("n.planned_for OPERATOR(pg_catalog.=) $1"
				 " AND n.look_at OPERATOR(pg_catalog.<=) $2",
				 "n.look_at"),
	LOCK_NOTICES("n.planned_for OPERATOR(pg_catalog.<) $1", "n.planned_for"),
	LOCK_NOTICES("n.planned_for OPERATOR(pg_catalog.>) $1", "n.planned_for"),
};

/*
 * Gives the notices that are due for locked rows, and plans these anew.
 *
 * $1 and $2 identify the rows; $3 and $4 are the notices and their texts.
 */
static Statement give_notices = {
	.sql = "WITH looked AS MATERIALIZED ("
	"SELECT n.key_id, n.by_idleness, k.name, k.key_prefix, e.ends_at, k.idle_timeout,"
	" CASE WHEN e.ends_at OPERATOR(pg_catalog.<=) n.ends_at THEN n.given END AS given"
	" FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS d(key_id, by_idleness)"
	" JOIN apikeys_data.key_notice n ON n.key_id OPERATOR(pg_catalog.=) d.key_id"
	" AND n.by_idleness OPERATOR(pg_catalog.=) d.by_idleness"
	" JOIN ONLY apikeys_data.key k ON k.id OPERATOR(pg_catalog.=) d.key_id"
	" CROSS JOIN LATERAL (SELECT CASE WHEN k.revoked_at IS NOT NULL THEN NULL"
	" WHEN NOT n.by_idleness THEN apikeys.ends_at(k.expires_at, NULL, NULL)"
	" WHEN k.idle_timeout IS NOT NULL THEN (SELECT i.ends_at"
	" FROM (SELECT apikeys.ends_at(NULL, k.idle_timeout, " KEY_IDLE_FROM ") AS ends_at) i"
	" WHERE i.ends_at OPERATOR(pg_catalog.<) COALESCE(k.expires_at, 'infinity'))"
	" END AS ends_at) e),"
		   /* The notices that are still to be given, and when. */
	" open AS MATERIALIZED (SELECT l.*, f.before, f.text,"
	" l.ends_at OPERATOR(pg_catalog.<=) ($6 OPERATOR(pg_catalog.+) f.before) AS is_due"
	" FROM looked l, ROWS FROM (pg_catalog.unnest($3), pg_catalog.unnest($4)) AS f(before, text)"
	" WHERE l.ends_at OPERATOR(pg_catalog.>) $6"
	" AND (l.given IS NULL OR f.before OPERATOR(pg_catalog.<) l.given)"
	" AND NOT (l.by_idleness AND f.before OPERATOR(pg_catalog.>=) l.idle_timeout)),"
	" plan AS (SELECT l.key_id, l.by_idleness, l.ends_at, l.given,"
	" (SELECT pg_catalog.min(o.before) FROM open o WHERE o.is_due"
	" AND o.key_id OPERATOR(pg_catalog.=) l.key_id"
	" AND o.by_idleness OPERATOR(pg_catalog.=) l.by_idleness) AS giving,"
	" (SELECT pg_catalog.min(o.ends_at OPERATOR(pg_catalog.-) o.before) FROM open o WHERE NOT o.is_due"
	" AND o.key_id OPERATOR(pg_catalog.=) l.key_id"
	" AND o.by_idleness OPERATOR(pg_catalog.=) l.by_idleness) AS next_at"
	" FROM looked l),"
	" planned AS (UPDATE apikeys_data.key_notice n SET planned_for = $5,"
	" ends_at = COALESCE(p.ends_at, n.ends_at),"
	" given = CASE WHEN p.ends_at IS NULL THEN n.given ELSE COALESCE(p.giving, p.given) END,"
		   /* By then a use may have moved the end. */
	" look_at = COALESCE(p.next_at, CASE WHEN p.by_idleness"
	" AND p.ends_at OPERATOR(pg_catalog.>) $6 THEN p.ends_at END)"
	" FROM plan p WHERE n.key_id OPERATOR(pg_catalog.=) p.key_id"
	" AND n.by_idleness OPERATOR(pg_catalog.=) p.by_idleness),"
	" gone AS (DELETE FROM apikeys_data.key_notice n"
	" USING ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS d(key_id, by_idleness)"
	" WHERE n.key_id OPERATOR(pg_catalog.=) d.key_id"
	" AND n.by_idleness OPERATOR(pg_catalog.=) d.by_idleness AND NOT EXISTS ("
	"SELECT FROM ONLY apikeys_data.key k WHERE k.id OPERATOR(pg_catalog.=) n.key_id))"
	" " ADD_EVENT
	" SELECT $6, $7, 'expiring', o.key_id, pg_catalog.jsonb_build_object("
	"'name', o.name, 'key_prefix', o.key_prefix,"
	" 'reason', CASE WHEN o.by_idleness THEN 'idle' ELSE 'expiry' END,"
	" 'notice', o.text, 'ends_at', pg_catalog.to_char(pg_catalog.timezone('UTC', o.ends_at),"
	" 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"+00:00\"'))"
	" FROM open o WHERE o.is_due ORDER BY o.ends_at, o.key_id, o.before DESC",
	STATEMENT_ARGS(UUIDARRAYOID, BOOLARRAYOID, INTERVALARRAYOID, TEXTARRAYOID, TEXTOID,
				   TIMESTAMPTZOID, NAMEOID)
};

static Statement next_notice = {
	.sql = "SELECT pg_catalog.min(n.look_at) FROM apikeys_data.key_notice n"
	" WHERE n.planned_for OPERATOR(pg_catalog.=) $1",
	STATEMENT_ARGS(TEXTOID)
};

/*
 * Has the ends of keys, a uuid[], looked at: that by expires_at, and that by their
 * idleness.  A row for an end that a key had is left, with the notices that were
 * given.
 */
void
store_plan_notices(ArrayType *ids, bool expires, bool may_be_idle)
{
	StoreScope	scope;

	store_open(&scope);
	(void) store_write_latest(&plan_notices,
							  (Datum[]) {PointerGetDatum(ids), BoolGetDatum(expires),
										BoolGetDatum(may_be_idle)},
							  NULL);
	store_close(&scope);
}

/* Removes what is planned for keys, a uuid[], that are revoked or deleted. */
void
store_remove_notices(ArrayType *ids)
{
	StoreScope	scope;

	store_open(&scope);
	(void) store_write_latest(&remove_notices, (Datum[]) {PointerGetDatum(ids)}, NULL);
	store_close(&scope);
}

/* Converts notices into an interval[] and a text[]. */
static void
notices_to_arrays(const NoticeList *list, Datum *arrays)
{
	Interval	before[NOTICES_MAX] = {0};
	Datum		intervals[NOTICES_MAX];
	Datum		texts[NOTICES_MAX];

	for (int i = 0; i < list->n; i++)
	{
		before[i].time = list->notices[i].before;
		intervals[i] = IntervalPGetDatum(&before[i]);
		texts[i] = CStringGetTextDatum(list->notices[i].text);
	}

	arrays[0] = PointerGetDatum(construct_array(intervals, list->n, INTERVALOID, sizeof(Interval),
												false, TYPALIGN_DOUBLE));
	arrays[1] = PointerGetDatum(construct_array(texts, list->n, TEXTOID, -1, false, TYPALIGN_INT));
}

/*
 * Locks up to limit rows of one range that nobody else has locked; returns their
 * number, and two arrays that identify them.
 */
static int
lock_range(Statement *statement, Datum setting, int limit, TimestampTz now, Datum *rows)
{
	bool		nulls[2];

	store_write_silently(statement, (Datum[]) {setting, TimestampTzGetDatum(now), Int32GetDatum(limit)},
						 NULL);
	heap_deform_tuple(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, rows, nulls);
	return nulls[0] ? 0 : ARR_DIMS(DatumGetArrayTypeP(rows[0]))[0];
}

/*
 * Looks at up to limit ends of keys, gives the notices that are due, and returns
 * how many it has looked at.  The keys are read with a snapshot from after the
 * rows were locked.  Needs READ COMMITTED.  Notices that are sent must not be
 * sent again after a crash, so the commit waits for the disk.
 */
int
store_give_notices(const char *setting, const NoticeList *list, int limit, TimestampTz now)
{
	StoreScope	scope;
	Datum		values[7];
	int			nlooked = 0;

	Assert(list->n > 0 && !IsolationUsesXactSnapshot());

	store_open(&scope);
	notices_to_arrays(list, &values[2]);
	values[4] = CStringGetTextDatum(setting);
	values[5] = TimestampTzGetDatum(now);
	values[6] = store_acting_role(&scope);
	for (int i = 0; i < (int) lengthof(lock_notices) && nlooked < limit; i++)
	{
		int			n = lock_range(&lock_notices[i], values[4], limit - nlooked, now, values);

		if (n > 0 && store_write_silently(&give_notices, values, NULL) > 0)
			ForceSyncCommit();
		nlooked += n;
	}
	store_close(&scope);

	return nlooked;
}

/* Returns when a row that was planned for a setting is to be looked at; 0: none. */
TimestampTz
store_next_notice(const char *setting)
{
	StoreScope	scope;
	Datum		look_at;
	bool		isnull;

	store_open(&scope);
	(void) store_read_latest(&next_notice, (Datum[]) {CStringGetTextDatum(setting)}, NULL);
	look_at = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	store_close(&scope);

	return isnull ? 0 : DatumGetTimestampTz(look_at);
}
