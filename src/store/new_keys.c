/*-------------------------------------------------------------------------
 *
 * new_keys.c
 *	  The statements that insert many keys, with their events.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "store/bulk.h"
#include "store/new_keys.h"

/*
 * $1 to $14 are KeyConfig's members, $15 to $19 arrays with an element for each
 * key: id, key_hash, hash_secret, key_prefix, name.  The names may be missing.
 */
#define INSERT_KEYS(on_conflict, action) { \
	.sql = "WITH new AS (" \
	"INSERT INTO apikeys_data.key (name, description, user_id, team_id, budget_id," \
	" permissions, rate_limits, expires_at, metadata, external_id, allowed_ips, plan," \
	" idle_timeout, enabled, id, key_hash, hash_secret, key_prefix," \
	" created_at, updated_at, idle_since)" \
	" SELECT COALESCE(n.name, $1), $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14," \
	" n.id, n.key_hash, n.hash_secret, n.key_prefix, $20, " UPDATED_AT("$21", "$20") "," \
	" CASE WHEN $20 OPERATOR(pg_catalog.<) $21 THEN $21 END" \
	" FROM ROWS FROM (pg_catalog.unnest($15), pg_catalog.unnest($16), pg_catalog.unnest($17)," \
	" pg_catalog.unnest($18), pg_catalog.unnest($19)) AS n(id, key_hash, hash_secret, key_prefix, name)" \
	on_conflict \
	" RETURNING id, name, key_prefix)" \
	" " ADD_EVENT \
	" SELECT $21, $22, '" action "', new.id, " NAME_AND_PREFIX("new.name", "new.key_prefix") " FROM new" \
	" RETURNING key_id", \
	STATEMENT_ARGS(TEXTOID, TEXTOID, UUIDOID, UUIDOID, UUIDOID, \
				   JSONBOID, JSONBOID, TIMESTAMPTZOID, JSONBOID, TEXTOID, \
				   INETARRAYOID, TEXTOID, INTERVALOID, BOOLOID, UUIDARRAYOID, BYTEAARRAYOID, \
				   TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID, NAMEOID) \
}

static Statement insert_generated = INSERT_KEYS("", "generate");

static Statement insert_imported = INSERT_KEYS(" ON CONFLICT (" KEY_HASH_START("key_hash") ") DO NOTHING", "import");

/* Returns a text[] of n elements; those whose value is 0 are null. */
static Datum
text_array(const Datum *values, int n)
{
	bool	   *nulls = palloc(n * sizeof(bool));
	int			lower = 1;

	for (int i = 0; i < n; i++)
		nulls[i] = (values[i] == (Datum) 0);
	return PointerGetDatum(construct_md_array((Datum *) values, nulls, 1, &n, &lower, TEXTOID, -1, false,
											  TYPALIGN_INT));
}

/* Makes the arrays $15 to $19. */
static void
make_arrays(const NewKeys *new, Datum *arrays)
{
	Datum	   *elements = palloc(new->n * sizeof(Datum));

	for (int i = 0; i < new->n; i++)
		elements[i] = UUIDPGetDatum(new->keys[i].id);
	arrays[0] = PointerGetDatum(construct_array(elements, new->n, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
	for (int i = 0; i < new->n; i++)
		elements[i] = PointerGetDatum(new->keys[i].hash);
	arrays[1] = PointerGetDatum(construct_array(elements, new->n, BYTEAOID, -1, false, TYPALIGN_INT));
	for (int i = 0; i < new->n; i++)
		elements[i] = PointerGetDatum(new->keys[i].hash_secret);
	arrays[2] = text_array(elements, new->n);
	for (int i = 0; i < new->n; i++)
		elements[i] = CStringGetTextDatum(new->keys[i].key_prefix);
	arrays[3] = text_array(elements, new->n);
	arrays[4] = new->names != NULL ? text_array(new->names, new->n)
								   : PointerGetDatum(construct_empty_array(TEXTOID));
}

/* Returns which key was not inserted: the first whose id the result has not at its place. */
static int
find_missing(const NewKeys *new)
{
	bool		isnull;

	for (int i = 0; i < (int) SPI_processed; i++)
	{
		Datum		id = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);

		if (memcmp(DatumGetUUIDP(id), new->keys[i].id, UUID_LEN) != 0)
			return i;
	}
	return (int) SPI_processed;
}

/*
 * Inserts keys; returns their ids, a uuid[], or, if a key with the hash of an
 * imported one exists already, NULL, and which.
 */
ArrayType *
store_insert_keys(const NewKeys *new, bool imported, const KeyConfig *config, TimestampTz now,
				  int *conflict)
{
	StoreScope	scope;
	Datum		values[CONFIG_NMEMBERS + 8];
	bool		nulls[CONFIG_NMEMBERS + 8] = {0};
	Datum	   *rest = &values[CONFIG_NMEMBERS];
	MemoryContext caller = CurrentMemoryContext;
	ArrayType  *ids = NULL;

	Assert(insert_generated.nargs == lengthof(values) && insert_imported.nargs == lengthof(values));

	store_open(&scope);
	memcpy(values, config->values, sizeof(config->values));
	memcpy(nulls, config->nulls, sizeof(config->nulls));
	make_arrays(new, rest);
	rest[5] = TimestampTzGetDatum(new->keys[0].created_at);
	rest[6] = TimestampTzGetDatum(now);
	rest[7] = store_acting_role(&scope);
	if (store_write_many(imported ? &insert_imported : &insert_generated, values, nulls) == (uint64) new->n)
	{
		MemoryContext spi = MemoryContextSwitchTo(caller);

		ids = DatumGetArrayTypePCopy(rest[0]);
		MemoryContextSwitchTo(spi);
	}
	else if (imported)
		*conflict = find_missing(new);
	else
		store_not_written("key");
	store_close(&scope);

	return ids;
}
