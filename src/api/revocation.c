/*-------------------------------------------------------------------------
 *
 * revocation.c
 *	  Revokes a key, by its id or by the key itself.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "base/arguments.h"
#include "base/compat.h"
#include "model/key_config.h"
#include "store/keys.h"
#include "verify/lookup.h"
#include "verify/own_key.h"
#include "verify/restriction.h"

PG_FUNCTION_INFO_V1(apikey_revoke);
PG_FUNCTION_INFO_V1(apikey_revoke_raw);

/* Returns argument 1, the reason, or NULL.  Raises 22023. */
static text *
reason_argument(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(1))
		return NULL;

	key_config_check_revoke_reason(PG_GETARG_DATUM(1));
	return PG_GETARG_TEXT_PP(1);
}

/* Revokes a locked key.  Raises 22023 for a reason that has the key in it. */
static void
revoke_locked(const pg_uuid_t *id, text *reason)
{
	if (reason != NULL)
		own_key_check_words(store_key_hash(id), "reason", reason);
	store_revoke_key(id, reason, GetCurrentTimestamp());
}

/* apikey_revoke(id uuid, reason text): void */
Datum
apikey_revoke(PG_FUNCTION_ARGS)
{
	text	   *reason;
	pg_uuid_t  *id;
	KeyRow		key;

	require_not_null(fcinfo, 0, "id");
	reason = reason_argument(fcinfo);
	id = PG_GETARG_UUID_P(0);
	if (!store_read_key(id, restriction_for_changes(), true, &key))
		raise_key_not_found(id);
	if (!key.nulls[KEY_REVOKED_AT])
		raise_wrong_state("API key is already revoked");

	revoke_locked(id, reason);
	PG_RETURN_VOID();
}

/*
 * apikey_revoke_raw(raw_key text, reason text): uuid, null if there is no such
 * key.  A key that is revoked already stays as it is: whoever has found a key
 * wants to know that it is of no use any more, not who was first.
 */
Datum
apikey_revoke_raw(PG_FUNCTION_ARGS)
{
	text	   *reason = reason_argument(fcinfo);
	pg_uuid_t  *id;
	CachedKey  *found;
	KeyRow		key;

	found = PG_ARGISNULL(0) ? NULL : lookup_key((struct varlena *) PG_GETARG_POINTER(0));
	if (found == NULL)
		PG_RETURN_NULL();

	/* The cache may lose it while its row is locked. */
	id = palloc(sizeof(pg_uuid_t));
	*id = *DatumGetUUIDP(found->row.values[KEY_ID]);
	if (!store_read_key(id, restriction_by_setting(), true, &key))
		PG_RETURN_NULL();
	if (key.nulls[KEY_REVOKED_AT])
		revoke_locked(id, reason);

	PG_RETURN_UUID_P(id);
}
