/*-------------------------------------------------------------------------
 *
 * keys.c
 *	  The statements on apikeys_data.key, with their events.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "base/arguments.h"
#include "store/keys.h"
#include "store/lock_wait.h"
#include "store/spi.h"

/* With the key's own documents, as those who change it need them. */
#define KEY_ROW_COLUMNS KEY_ROW("k.permissions", "k.rate_limits")

static Statement key_info = {
	.sql = "SELECT i FROM apikeys_data.key_info i WHERE i.id OPERATOR(pg_catalog.=) $1",
	STATEMENT_ARGS(UUIDOID)
};

static Statement read_key = {
	.sql = SELECT_BY_ID(KEY_ROW_COLUMNS, "key", "k") OF_USER("k"),
	STATEMENT_ARGS(UUIDOID, UUIDOID)
};

static RowLock key_lock = ROW_LOCK_IF("id", OF_USER("k"), "this API key", "key", "k",
									  KEY_ROW_COLUMNS, "UPDATE", UUIDOID, UUIDOID);

static Statement key_hash = {
	.sql = "SELECT k.key_hash FROM ONLY apikeys_data.key k"
	" WHERE k.id OPERATOR(pg_catalog.=) $1",
	STATEMENT_ARGS(UUIDOID)
};

/*
 * $1 to $14 are KeyConfig's members.  Idleness counts from the import of a key:
 * what came before is not known.
 */
#define INSERT_KEY(on_conflict) { \
	.sql = "WITH new AS (" \
	"INSERT INTO apikeys_data.key (name, description, user_id, team_id, budget_id," \
	" permissions, rate_limits, expires_at, metadata, external_id, allowed_ips, plan," \
	" idle_timeout, enabled, id, key_hash, hash_secret, key_prefix," \
	" created_at, updated_at, idle_since)" \
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14," \
	" $15, $16, $17, $18, $19, " UPDATED_AT("$20", "$19") "," \
	" CASE WHEN $19 OPERATOR(pg_catalog.<) $20 THEN $20 END)" \
	on_conflict \
	" RETURNING id)" \
	" " ADD_EVENT \
	" SELECT $20, $21, $22, new.id, " NAME_AND_PREFIX("$1", "$18") " FROM new", \
	STATEMENT_ARGS(TEXTOID, TEXTOID, UUIDOID, UUIDOID, UUIDOID, \
				   JSONBOID, JSONBOID, TIMESTAMPTZOID, JSONBOID, TEXTOID, \
				   INETARRAYOID, TEXTOID, INTERVALOID, BOOLOID, UUIDOID, BYTEAOID, TEXTOID, TEXTOID, \
				   TIMESTAMPTZOID, TIMESTAMPTZOID, NAMEOID, TEXTOID) \
}

/* Random keys do not conflict; the unique index on the hash suffices. */
static Statement insert_new_key = INSERT_KEY("");

static Statement insert_imported_key = INSERT_KEY(" ON CONFLICT (" KEY_HASH_START("key_hash") ") DO NOTHING");

/* Expires the old key and inserts its successor, or does neither. */
static Statement rotate_key = {
	.sql = "WITH old AS ("
	"UPDATE ONLY apikeys_data.key SET rotated_at = $2, updated_at = $2, expires_at = $4,"
	" revoked_at = CASE WHEN $5 THEN $2 END,"
	" revoke_reason = CASE WHEN $5 THEN 'rotated' END"
	" WHERE id OPERATOR(pg_catalog.=) $1"
	" RETURNING *),"
	" new AS (INSERT INTO apikeys_data.key (id, root_id, rotated_from, key_hash,"
	" hash_secret, key_prefix, name, description, user_id, team_id, budget_id,"
	" external_id, plan, permissions, rate_limits, metadata, allowed_ips, enabled,"
	" expires_at, idle_timeout, created_at)"
	" SELECT $6, " ROOT_OF("old") ", old.id, $7, $8, $9, $10, old.description,"
	" old.user_id, old.team_id, old.budget_id, old.external_id, old.plan,"
	" old.permissions, old.rate_limits, old.metadata, old.allowed_ips,"
	" old.enabled, $11, old.idle_timeout, $2 FROM old"
	" RETURNING rotated_from)"
	" " ADD_EVENT
	" SELECT $2, $3, 'rotate', new.rotated_from, pg_catalog.jsonb_build_object("
	"'successor', $6, 'old_expires_at', $4) FROM new",
	STATEMENT_ARGS(UUIDOID, TIMESTAMPTZOID, NAMEOID, TIMESTAMPTZOID, BOOLOID,
				   UUIDOID, BYTEAOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID)
};

/* What apikey_update may change, as a document. */
#define KEY_DOCUMENT \
	"pg_catalog.jsonb_build_object('name', name, 'description', description," \
	" 'user_id', user_id, 'team_id', team_id, 'budget_id', budget_id," \
	" 'permissions', permissions, 'rate_limits', rate_limits," \
	" 'expires_at', expires_at, 'metadata', metadata," \
	" 'external_id', external_id, 'allowed_ips', allowed_ips, 'plan', plan," \
	" 'enabled', enabled, 'idle_timeout', idle_timeout," \
	" 'idle_since', idle_since) AS document"

/* $1 to $14 are KeyConfig's members.  Citus lets RETURNING call no function that is not immutable. */
static Statement update_key = {
	.sql = "WITH was AS (SELECT " KEY_DOCUMENT " FROM ONLY apikeys_data.key"
	" WHERE id OPERATOR(pg_catalog.=) $16),"
	" changed AS (UPDATE ONLY apikeys_data.key SET name = $1, description = $2,"
	" user_id = $3, team_id = $4, budget_id = $5, permissions = $6,"
	" rate_limits = $7, expires_at = $8, metadata = $9, external_id = $10,"
	" allowed_ips = $11, plan = $12, idle_timeout = $13, enabled = $14, updated_at = $15,"
	" idle_since = CASE WHEN $18 THEN $15 ELSE idle_since END"
	" WHERE id OPERATOR(pg_catalog.=) $16"
	" RETURNING *),"
	" became AS (SELECT " KEY_DOCUMENT " FROM changed)"
	" " ADD_EVENT
	" SELECT $15, $17, 'update', $16, " CHANGED_MEMBERS " FROM was, became",
	STATEMENT_ARGS(TEXTOID, TEXTOID, UUIDOID, UUIDOID, UUIDOID,
				   JSONBOID, JSONBOID, TIMESTAMPTZOID, JSONBOID, TEXTOID,
				   INETARRAYOID, TEXTOID, INTERVALOID, BOOLOID, TIMESTAMPTZOID, UUIDOID, NAMEOID, BOOLOID)
};

static Statement revoke_key = {
	.sql = REVOKE_KEYS("id OPERATOR(pg_catalog.=) $1"),
	STATEMENT_ARGS(UUIDOID, TIMESTAMPTZOID, NAMEOID, TEXTOID)
};

/*
 * Copies the first row of the result.  For use in an open scope.
 */
void
store_copy_key_row(KeyRow *row)
{
	Assert(SPI_tuptable->tupdesc->natts <= KEY_NLOOKUP_COLUMNS);
	row->nulls[KEY_HASH] = true;
	row->tuple = store_copy_row();
	heap_deform_tuple(row->tuple, SPI_tuptable->tupdesc, row->values, row->nulls);
	store_set_root(row);
	row->own = TransactionIdIsCurrentTransactionId(DatumGetTransactionId(row->values[KEY_XMIN])) ||
			   (!row->nulls[KEY_PARENT_XMIN] &&
				TransactionIdIsCurrentTransactionId(DatumGetTransactionId(row->values[KEY_PARENT_XMIN])));
}

/*
 * Returns the row of apikeys_data.key_info of a key.  Raises P0002: who has not
 * locked it may find that it has been deleted.
 */
Datum
store_key_info(const pg_uuid_t *id)
{
	Datum		info;

	if (!store_read_info(&key_info, id, &info))
		raise_key_not_found(id);
	return info;
}

/*
 * Reads a key, and with lock, locks it against every change until the
 * transaction ends; returns false if it does not exist, or is not of this user,
 * unless that is NULL.
 */
bool
store_read_key(const pg_uuid_t *id, const pg_uuid_t *user_id, bool lock, KeyRow *row)
{
	StoreScope	scope;
	bool		found;

	store_open(&scope);
	found = lock ? store_lock_row_if(&key_lock, KEY_OF_USER(id, user_id))
				 : store_read(&read_key, KEY_OF_USER(id, user_id)) > 0;
	if (found)
		store_copy_key_row(row);
	store_close(&scope);

	return found;
}

/* Returns the hash of a locked key, palloc'd. */
bytea *
store_key_hash(const pg_uuid_t *id)
{
	StoreScope	scope;
	Datum		hash;
	bool		isnull;

	store_open(&scope);
	if (store_read_latest(&key_hash, (Datum[]) {UUIDPGetDatum(id)}, NULL) != 1)
		elog(ERROR, "a locked key has no row");
	hash = SPI_datumTransfer(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull),
							 false, -1);
	store_close(&scope);

	return DatumGetByteaPP(hash);
}

/*
 * Stores a generated or imported key; returns false if a key with the hash of
 * an imported one exists already.
 */
bool
store_insert_key(const NewKey *key, bool imported, const KeyConfig *config,
				 TimestampTz now)
{
	StoreScope	scope;
	Datum		values[CONFIG_NMEMBERS + 8];
	bool		nulls[CONFIG_NMEMBERS + 8] = {0};
	Datum	   *rest = &values[CONFIG_NMEMBERS];
	bool		inserted;

	Assert(insert_new_key.nargs == lengthof(values) && insert_imported_key.nargs == lengthof(values));

	store_open(&scope);
	memcpy(values, config->values, sizeof(config->values));
	memcpy(nulls, config->nulls, sizeof(config->nulls));
	rest[0] = UUIDPGetDatum(key->id);
	rest[1] = PointerGetDatum(key->hash);
	rest[2] = PointerGetDatum(key->hash_secret);
	nulls[CONFIG_NMEMBERS + 2] = (key->hash_secret == NULL);
	rest[3] = CStringGetTextDatum(key->key_prefix);
	rest[4] = TimestampTzGetDatum(key->created_at);
	rest[5] = TimestampTzGetDatum(now);
	rest[6] = store_acting_role(&scope);
	rest[7] = CStringGetTextDatum(imported ? "import" : "generate");
	if (imported)
		inserted = store_write_durably(&insert_imported_key, values, nulls) > 0;
	else
	{
		store_write_one(&insert_new_key, "key", values, nulls);
		inserted = true;
	}
	store_close(&scope);

	return inserted;
}

/*
 * Rotates a locked key: stores its successor, and revokes the old key or has it
 * expire at the predecessor's expires_at.
 */
void
store_rotate_key(const pg_uuid_t *id, const PredecessorExpiry *predecessor,
				 const NewKey *successor, text *name, TimestampTz expires_at)
{
	StoreScope	scope;

	store_open(&scope);
	store_write_one(&rotate_key, "key",
					(Datum[]) {
						UUIDPGetDatum(id),
						TimestampTzGetDatum(successor->created_at),
						store_acting_role(&scope),
						TimestampTzGetDatum(predecessor->expires_at),
						BoolGetDatum(predecessor->revoke),
						UUIDPGetDatum(successor->id),
						PointerGetDatum(successor->hash),
						PointerGetDatum(successor->hash_secret),
						CStringGetTextDatum(successor->key_prefix),
						PointerGetDatum(name),
						TimestampTzGetDatum(expires_at)},
					(bool[]) {
						false, false, false,
						predecessor->expires_at == DT_NOEND,
						false, false, false,
						successor->hash_secret == NULL,
						false, false,
						expires_at == DT_NOEND});
	store_close(&scope);
}

/* Stores the configuration of a locked key; its event has the changes. */
void
store_update_key(const pg_uuid_t *id, const KeyConfig *config, TimestampTz now)
{
	StoreScope	scope;
	Datum		values[CONFIG_NMEMBERS + 4];
	bool		nulls[CONFIG_NMEMBERS + 4] = {0};

	Assert(update_key.nargs == lengthof(values));

	store_open(&scope);
	memcpy(values, config->values, sizeof(config->values));
	memcpy(nulls, config->nulls, sizeof(config->nulls));
	values[CONFIG_NMEMBERS] = TimestampTzGetDatum(now);
	values[CONFIG_NMEMBERS + 1] = UUIDPGetDatum(id);
	values[CONFIG_NMEMBERS + 2] = store_acting_role(&scope);
	values[CONFIG_NMEMBERS + 3] = BoolGetDatum(config->restarts_idleness);
	store_write_one(&update_key, "key", values, nulls);
	store_close(&scope);
}

/* Revokes a locked key; reason may be NULL. */
void
store_revoke_key(const pg_uuid_t *id, text *reason, TimestampTz now)
{
	StoreScope	scope;

	store_open(&scope);
	store_write_one(&revoke_key, "key",
					(Datum[]) {UUIDPGetDatum(id), TimestampTzGetDatum(now),
							  store_acting_role(&scope), PointerGetDatum(reason)},
					(bool[]) {false, false, false, reason == NULL});
	store_close(&scope);
}

/* Takes the configuration of a key from its row, whose memory it shares. */
void
store_key_config(const KeyRow *row, KeyConfig *config)
{
	static const KeyColumn columns[] = {
		[CONFIG_NAME] = KEY_NAME,
		[CONFIG_DESCRIPTION] = KEY_DESCRIPTION,
		[CONFIG_USER_ID] = KEY_USER_ID,
		[CONFIG_TEAM_ID] = KEY_TEAM_ID,
		[CONFIG_BUDGET_ID] = KEY_BUDGET_ID,
		[CONFIG_PERMISSIONS] = KEY_PERMISSIONS,
		[CONFIG_RATE_LIMITS] = KEY_RATE_LIMITS,
		[CONFIG_EXPIRES_AT] = KEY_EXPIRES_AT,
		[CONFIG_METADATA] = KEY_METADATA,
		[CONFIG_EXTERNAL_ID] = KEY_EXTERNAL_ID,
		[CONFIG_ALLOWED_IPS] = KEY_ALLOWED_IPS,
		[CONFIG_PLAN] = KEY_PLAN,
		[CONFIG_IDLE_TIMEOUT] = KEY_IDLE_TIMEOUT,
		[CONFIG_ENABLED] = KEY_ENABLED,
	};

	StaticAssertDecl(lengthof(columns) == CONFIG_NMEMBERS, "each member has a column");

	for (int member = 0; member < CONFIG_NMEMBERS; member++)
	{
		config->values[member] = row->values[columns[member]];
		config->nulls[member] = row->nulls[columns[member]];
	}
}
