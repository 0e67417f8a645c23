/*-------------------------------------------------------------------------
 *
 * window_rows.c
 *	  The statements on the stored windows of keys and budgets.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A row is read at the first verify of an owner that is not in shared memory, so
 * that is done without a statement, as for a catalog.  Rows are written by whoever
 * has the lock of flushes, and by nobody else.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "store/batch_write.h"
#include "store/catalog.h"
#include "store/primary_key.h"
#include "store/spi.h"
#include "store/window_rows.h"

/* The number of a column of apikeys_data.window_state. */
#define ATTR_WINDOWS	2

/* For store_write_batch().  Each row has a slice of one array. */
static Statement write_rows = {
	.sql = "INSERT INTO apikeys_data.window_state (owner_id, windows, ends_at)"
	" SELECT r.owner_id, ($2)[r.first_number : r.last_number], r.ends_at FROM ROWS FROM ("
	"pg_catalog.unnest($1), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5))"
	" AS r(owner_id, first_number, last_number, ends_at)"
	" ON CONFLICT (owner_id) DO UPDATE SET windows = EXCLUDED.windows, ends_at = EXCLUDED.ends_at",
	STATEMENT_ARGS(UUIDARRAYOID, INT8ARRAYOID, INT4ARRAYOID, INT4ARRAYOID, TIMESTAMPTZARRAYOID)
};

static Statement list_rows = {
	.sql = "SELECT w.owner_id, w.ends_at OPERATOR(pg_catalog.<=) $2 FROM ONLY apikeys_data.window_state w"
	" WHERE w.owner_id OPERATOR(pg_catalog.>) $1 ORDER BY w.owner_id LIMIT $3",
	STATEMENT_ARGS(UUIDOID, TIMESTAMPTZOID, INT4OID)
};

static Statement delete_rows = {
	.sql = "DELETE FROM ONLY apikeys_data.window_state w WHERE w.owner_id OPERATOR(pg_catalog.=) ANY ($1)",
	STATEMENT_ARGS(UUIDARRAYOID)
};

/* Copies the windows of a tuple.  Raises XX001. */
static void
copy_windows(HeapTuple tuple, TupleDesc tupdesc, WindowRow *row)
{
	bool		isnull;
	Datum		windows = heap_getattr(tuple, ATTR_WINDOWS, tupdesc, &isnull);

	/* The table has a CHECK; a limit must not start anew without a word. */
	if (isnull || !window_row_decode(DatumGetArrayTypeP(windows), row))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("invalid row in table apikeys_data.window_state")));
}

/*
 * Reads the windows of an owner, as they are committed now, in any isolation level;
 * false if there are none.  Takes the lock of the table before the snapshot, and
 * gives it back.
 */
bool
store_read_windows(const pg_uuid_t *owner, WindowRow *row)
{
	Relation	rel = store_open_table("window_state");
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found;

	row->owner = *owner;
	row->n = 0;
	scan = store_scan_primary_key(rel, snapshot, &(KeyColumn){"owner_id", F_UUID_EQ, UUIDPGetDatum(owner)}, 1);
	tuple = systable_getnext(scan);
	found = HeapTupleIsValid(tuple);
	if (found)
		copy_windows(tuple, RelationGetDescr(rel), row);
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);

	return found;
}

/* What store_write_windows() passes on, as arrays. */
typedef struct RowArrays
{
	Datum	   *owners;
	Datum	   *firsts;			/* where the numbers of each begin, from 1 */
	Datum	   *lasts;
	Datum	   *ends_at;
	Datum	   *numbers;
	int			nnumbers;
} RowArrays;

/* Adds the i-th row. */
static void
add_row(RowArrays *arrays, int i, const WindowRow *row, TimestampTz now)
{
	int64		numbers[WINDOW_ROW_MAX * WINDOW_ROW_NUMBERS];
	int			n = window_row_encode(row, numbers);

	arrays->owners[i] = UUIDPGetDatum(&row->owner);
	arrays->firsts[i] = Int32GetDatum(arrays->nnumbers + 1);
	arrays->lasts[i] = Int32GetDatum(arrays->nnumbers + n);
	arrays->ends_at[i] = TimestampTzGetDatum(window_row_ends_at(row, now));
	for (int k = 0; k < n; k++)
		arrays->numbers[arrays->nnumbers++] = Int64GetDatum(numbers[k]);
}

/* Writes rows, each of another owner; an older one is replaced. */
void
store_write_windows(const WindowRow *rows, int nrows, TimestampTz now)
{
	StoreScope	scope;
	RowArrays	arrays = {.nnumbers = 0};
	Datum		values[5];

	Assert(nrows > 0);
	store_open(&scope);
	arrays.owners = palloc(nrows * sizeof(Datum));
	arrays.firsts = palloc(nrows * sizeof(Datum));
	arrays.lasts = palloc(nrows * sizeof(Datum));
	arrays.ends_at = palloc(nrows * sizeof(Datum));
	arrays.numbers = palloc(nrows * WINDOW_ROW_MAX * WINDOW_ROW_NUMBERS * sizeof(Datum));
	for (int i = 0; i < nrows; i++)
		add_row(&arrays, i, &rows[i], now);

	values[0] = PointerGetDatum(construct_array(arrays.owners, nrows, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
	values[1] = PointerGetDatum(construct_array(arrays.numbers, arrays.nnumbers, INT8OID, sizeof(int64),
												FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	values[2] = PointerGetDatum(construct_array(arrays.firsts, nrows, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	values[3] = PointerGetDatum(construct_array(arrays.lasts, nrows, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	values[4] = PointerGetDatum(construct_array(arrays.ends_at, nrows, TIMESTAMPTZOID, sizeof(TimestampTz),
												FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	store_write_batch(&write_rows, values);
	store_close(&scope);
}

/*
 * Lists up to max rows, in the order of their owners, after one of these; returns
 * how many.
 */
int
store_list_windows(const pg_uuid_t *after, TimestampTz now, WindowRowEnd *ends, int max)
{
	StoreScope	scope;
	int			n;

	store_open(&scope);
	n = (int) store_read_latest(&list_rows,
								(Datum[]) {UUIDPGetDatum(after), TimestampTzGetDatum(now), Int32GetDatum(max)},
								NULL);
	for (int i = 0; i < n; i++)
	{
		Datum		row[2];
		bool		nulls[2];

		heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, row, nulls);
		ends[i].owner = *DatumGetUUIDP(row[0]);
		ends[i].is_over = DatumGetBool(row[1]);
	}
	store_close(&scope);

	return n;
}

/* Deletes the rows of owners. */
void
store_delete_windows(const pg_uuid_t *owners, int nowners)
{
	StoreScope	scope;
	Datum	   *elements = palloc(nowners * sizeof(Datum));
	ArrayType  *array;

	for (int i = 0; i < nowners; i++)
		elements[i] = UUIDPGetDatum(&owners[i]);

	store_open(&scope);
	array = construct_array(elements, nowners, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR);
	store_write_batch(&delete_rows, (Datum[]) {PointerGetDatum(array)});
	store_close(&scope);
	pfree(elements);
}
