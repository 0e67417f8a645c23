/*-------------------------------------------------------------------------
 *
 * key_row.c
 *	  A key's row as bytes that any backend can read.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * The bytes are those of the tuple, without the start of its header, which means
 * nothing outside of a table.  The types of the columns stand here, so that
 * a backend that has read no key yet need not look them up.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "store/key_row.h"

/* Of a type, what it takes to find the next column. */
typedef struct ColumnType
{
	Oid			type;
	int16		len;
	bool		byval;
	char		align;
} ColumnType;

#define UUID_COLUMN			{UUIDOID, 16, false, TYPALIGN_CHAR}
#define TEXT_COLUMN			{TEXTOID, -1, false, TYPALIGN_INT}
#define JSONB_COLUMN		{JSONBOID, -1, false, TYPALIGN_INT}
#define TIMESTAMP_COLUMN	{TIMESTAMPTZOID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE}

static const ColumnType columns[] = {
	[KEY_ID] = UUID_COLUMN,
	[KEY_ROOT_ID] = UUID_COLUMN,
	[KEY_NAME] = TEXT_COLUMN,
	[KEY_PREFIX] = TEXT_COLUMN,
	[KEY_USER_ID] = UUID_COLUMN,
	[KEY_TEAM_ID] = UUID_COLUMN,
	[KEY_BUDGET_ID] = UUID_COLUMN,
	[KEY_EXTERNAL_ID] = TEXT_COLUMN,
	[KEY_PERMISSIONS] = JSONB_COLUMN,
	[KEY_RATE_LIMITS] = JSONB_COLUMN,
	[KEY_METADATA] = JSONB_COLUMN,
	[KEY_EXPIRES_AT] = TIMESTAMP_COLUMN,
	[KEY_DESCRIPTION] = TEXT_COLUMN,
	[KEY_ALLOWED_IPS] = {INETARRAYOID, -1, false, TYPALIGN_INT},
	[KEY_ENABLED] = {BOOLOID, 1, true, TYPALIGN_CHAR},
	[KEY_REVOKED_AT] = TIMESTAMP_COLUMN,
	[KEY_ROTATED_AT] = TIMESTAMP_COLUMN,
	[KEY_PLAN] = TEXT_COLUMN,
	[KEY_CREATED_AT] = TIMESTAMP_COLUMN,
	[KEY_IDLE_TIMEOUT] = {INTERVALOID, 16, false, TYPALIGN_DOUBLE},
	[KEY_IDLE_SINCE] = TIMESTAMP_COLUMN,
	[KEY_XMIN] = {XIDOID, 4, true, TYPALIGN_INT},
	[KEY_PARENT_ID] = UUID_COLUMN,
	[KEY_PARENT_HASH] = {BYTEAOID, -1, false, TYPALIGN_INT},
	[KEY_PARENT_LIMITS] = JSONB_COLUMN,
	[KEY_OWN_LIMITS] = JSONB_COLUMN,
	[KEY_PARENT_XMIN] = {XIDOID, 4, true, TYPALIGN_INT},
};

StaticAssertDecl(lengthof(columns) == KEY_NCOLUMNS, "each column has a type");

/* What is left out of a tuple's header. */
#define HEADER_START	offsetof(HeapTupleHeaderData, t_infomask2)

static TupleDesc
key_tupdesc(void)
{
	static TupleDesc tupdesc = NULL;
	MemoryContext old;
	TupleDesc	made;

	if (tupdesc != NULL)
		return tupdesc;

	old = MemoryContextSwitchTo(TopMemoryContext);
	made = CreateTemplateTupleDesc(KEY_NCOLUMNS);
	MemoryContextSwitchTo(old);
	for (int i = 0; i < KEY_NCOLUMNS; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(made, i);

		attribute->atttypid = columns[i].type;
		attribute->attlen = columns[i].len;
		attribute->attbyval = columns[i].byval;
		attribute->attalign = columns[i].align;
		compact_attribute(made, i);
	}
	tupdesc = made;
	return tupdesc;
}

/* How many bytes a row has when it is packed, without what it was looked up by. */
Size
store_key_row_size(const KeyRow *row)
{
	const char *start = (const char *) row->tuple->t_data + HEADER_START;

	if (row->nulls[KEY_HASH])
		return row->tuple->t_len - HEADER_START;
	return (const char *) DatumGetPointer(row->values[KEY_HASH]) - start;
}

/* Returns a row as bytes, which are part of it, store_key_row_size() of them. */
const char *
store_pack_key_row(const KeyRow *row)
{
	Assert(!HeapTupleHasExternal(row->tuple));
	return (const char *) row->tuple->t_data + HEADER_START;
}

/* Makes a row of bytes, in the current memory context. */
void
store_unpack_key_row(const char *packed, Size size, KeyRow *row)
{
	HeapTuple	tuple = palloc0(HEAPTUPLESIZE + HEADER_START + size);

	tuple->t_len = HEADER_START + size;
	tuple->t_data = (HeapTupleHeader) ((char *) tuple + HEAPTUPLESIZE);
	memcpy((char *) tuple->t_data + HEADER_START, packed, size);

	row->tuple = tuple;
	row->own = false;
	heap_deform_tuple(tuple, key_tupdesc(), row->values, row->nulls);
	row->nulls[KEY_HASH] = true;
	store_set_root(row);
}
