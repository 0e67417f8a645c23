/*-------------------------------------------------------------------------
 *
 * keys.h
 *	  The statements on apikeys_data.key and apikeys_data.event.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_KEYS_H
#define APIKEYS_STORE_KEYS_H

#include "access/htup.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "model/key_config.h"

/* The first columns are those of apikey_verify's result, in its order. */
typedef enum KeyColumn
{
	KEY_ID,
	KEY_ROOT_ID,
	KEY_NAME,
	KEY_PREFIX,
	KEY_USER_ID,
	KEY_TEAM_ID,
	KEY_BUDGET_ID,
	KEY_EXTERNAL_ID,
	KEY_PERMISSIONS,
	KEY_RATE_LIMITS,
	KEY_METADATA,
	KEY_EXPIRES_AT,
	KEY_DESCRIPTION,
	KEY_ALLOWED_IPS,
	KEY_ENABLED,
	KEY_REVOKED_AT,
	KEY_ROTATED_AT,
	KEY_PLAN,
	KEY_CREATED_AT,
	KEY_IDLE_TIMEOUT,
	KEY_IDLE_SINCE,
	KEY_XMIN,
	KEY_PARENT_ID,				/* null: not derived, like the rest */
	KEY_PARENT_HASH,			/* these four only of store_find_key() */
	KEY_PARENT_LIMITS,			/* rate_limits of the parent */
	KEY_OWN_LIMITS,				/* and of the key alone */
	KEY_PARENT_XMIN,
	KEY_NCOLUMNS,

	KEY_HASH = KEY_NCOLUMNS,	/* these two of a key that was looked up; not packed */
	KEY_HASH_SECRET,
	KEY_NLOOKUP_COLUMNS
} KeyColumn;

/* The columns of KeyRow, in its order, of a key k and with these documents. */
#define KEY_ROW(permissions, rate_limits) \
	"k.id, k.root_id, k.name, k.key_prefix, k.user_id, k.team_id," \
	" k.budget_id, k.external_id, " permissions ", " rate_limits ", k.metadata," \
	" k.expires_at, k.description, k.allowed_ips, k.enabled, k.revoked_at," \
	" k.rotated_at, k.plan, k.created_at, k.idle_timeout," \
	" GREATEST(k.idle_since, k.created_at), k.xmin, k.parent_id," \
	" NULL::pg_catalog.bytea, NULL::pg_catalog.jsonb, NULL::pg_catalog.jsonb," \
	" NULL::pg_catalog.xid"

#define KEY_NRESULT_COLUMNS (KEY_EXPIRES_AT + 1)

typedef struct KeyRow
{
	Datum		values[KEY_NLOOKUP_COLUMNS];
	bool		nulls[KEY_NLOOKUP_COLUMNS];
	HeapTuple	tuple;			/* what the values point to */
	bool		own;			/* it or its parent was written by this transaction */
} KeyRow;

/* A new key, apart from its configuration. */
typedef struct NewKey
{
	pg_uuid_t  *id;
	bytea	   *hash;
	text	   *hash_secret;	/* NULL: plain SHA-256 */
	const char *key_prefix;		/* masked form */
	TimestampTz created_at;
} NewKey;

/* When the old key of a rotation expires. */
typedef struct PredecessorExpiry
{
	TimestampTz expires_at;		/* DT_NOEND: never */
	bool		revoke;			/* now, in place of a grace period */
} PredecessorExpiry;

/* The root of a key that has none is itself. */
static inline void
store_set_root(KeyRow *row)
{
	if (row->nulls[KEY_ROOT_ID])
		row->values[KEY_ROOT_ID] = row->values[KEY_ID];
	row->nulls[KEY_ROOT_ID] = false;
}

/* DT_NOEND if the key never expires. */
static inline TimestampTz
store_key_expires_at(const KeyRow *key)
{
	return key->nulls[KEY_EXPIRES_AT] ? DT_NOEND : DatumGetTimestampTz(key->values[KEY_EXPIRES_AT]);
}

extern void store_copy_key_row(KeyRow *row);
extern void store_key_config(const KeyRow *row, KeyConfig *config);
extern Datum store_key_info(const pg_uuid_t *id);
extern bool store_read_key(const pg_uuid_t *id, const pg_uuid_t *user_id, bool lock,
						   KeyRow *row);
extern bytea *store_key_hash(const pg_uuid_t *id);
extern bool store_insert_key(const NewKey *key, bool imported,
							 const KeyConfig *config, TimestampTz now);
extern void store_rotate_key(const pg_uuid_t *id, const PredecessorExpiry *predecessor,
							 const NewKey *successor, text *name,
							 TimestampTz expires_at);
extern void store_update_key(const pg_uuid_t *id, const KeyConfig *config,
							 TimestampTz now);
extern void store_revoke_key(const pg_uuid_t *id, text *reason, TimestampTz now);

#endif							/* APIKEYS_STORE_KEYS_H */
