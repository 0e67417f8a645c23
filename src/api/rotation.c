/*-------------------------------------------------------------------------
 *
 * rotation.c
 *	  Rotates a key: makes a successor for it.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * The row of the key is locked before its state is checked, so if two sessions
 * rotate it at once, the second waits and then sees what the first has done.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "api/key_bounds.h"
#include "api/max_lifetime.h"
#include "api/new_key.h"
#include "base/arguments.h"
#include "base/compat.h"
#include "live/idle_keys.h"
#include "model/key_format.h"
#include "model/period.h"
#include "model/status.h"
#include "settings/guc.h"
#include "store/keys.h"

#define GRACE_MAX_YEARS		100000

PG_FUNCTION_INFO_V1(apikey_rotate);

/* Returns now + grace.  Raises 22023 for one that is negative or too long. */
static TimestampTz
grace_end(FunctionCallInfo fcinfo, int argno, TimestampTz now)
{
	TimestampTz end;

	require_not_null(fcinfo, argno, "grace");
	period_check_span("grace", PG_GETARG_INTERVAL_P(argno), GRACE_MAX_YEARS);
	end = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
												  TimestampTzGetDatum(now),
												  PG_GETARG_DATUM(argno)));
	if (end < now)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("grace must not be negative")));
	return end;
}

/* Raises 55000 unless the key may be rotated; may update the time. */
static void
check_rotatable(const KeyRow *key, TimestampTz *now)
{
	TimestampTz end = Min(store_key_expires_at(key), idle_keys_end(key, now));

	switch (status_at(*now, !key->nulls[KEY_REVOKED_AT], end, true))
	{
		case KEY_STATUS_REVOKED:
			raise_wrong_state("cannot rotate a revoked key");
			break;
		case KEY_STATUS_EXPIRED:
			raise_wrong_state("cannot rotate an expired key");
			break;
		default:
			break;
	}
	if (!key->nulls[KEY_PARENT_ID])
		raise_wrong_state("cannot rotate a derived key");
	if (!key->nulls[KEY_ROTATED_AT])
		raise_wrong_state("key has been rotated already");
}

/*
 * Returns the prefix for the successor of a key: the same, where it is known.
 */
static char *
successor_prefix(const KeyRow *key)
{
	char	   *prefix = key_format_masked_prefix(TextDatumGetCString(key->values[KEY_PREFIX]));

	return prefix != NULL ? prefix : guc_key_prefix;
}

/*
 * apikey_rotate(id uuid, grace interval, expires_at timestamptz): one row
 * (id, raw_key) of the new key.  With grace the old key stays valid meanwhile,
 * but not beyond its own expiry.
 */
Datum
apikey_rotate(PG_FUNCTION_ARGS)
{
	TimestampTz now;
	TimestampTz end;
	TimestampTz expires_at;
	PredecessorExpiry predecessor;
	KeyBounds	bounds;
	KeyRow		old;
	NewKey		successor;
	pg_uuid_t  *id;
	text	   *raw_key;

	key_bounds_get(&bounds, true);
	require_not_null(fcinfo, 0, "id");
	id = PG_GETARG_UUID_P(0);
	if (!store_read_key(id, bounds.user_id, true, &old))
		raise_key_not_found(id);
	now = GetCurrentTimestamp();
	check_rotatable(&old, &now);
	end = grace_end(fcinfo, 1, now);

	expires_at = store_key_expires_at(&old);
	predecessor.revoke = (end == now);
	predecessor.expires_at = expires_at;
	if (!predecessor.revoke)
		predecessor.expires_at = max_lifetime_shorten(Min(end, expires_at),
													  DatumGetTimestampTz(old.values[KEY_CREATED_AT]), now);
	if (PG_ARGISNULL(2))
		expires_at = max_lifetime_shorten(expires_at, now, now);
	else
	{
		expires_at = PG_GETARG_TIMESTAMPTZ(2);
		key_config_check_expires_at(expires_at, now);
		max_lifetime_check(expires_at, now);
	}
	key_bounds_check_rotation(&bounds, &old, expires_at, !predecessor.revoke, now);

	raw_key = new_key_make(successor_prefix(&old), now, &successor);
	store_rotate_key(id, &predecessor, &successor,
					 key_config_rotated_name(DatumGetTextPP(old.values[KEY_NAME])),
					 expires_at);

	return new_key_form_result(fcinfo, successor.id, raw_key);
}
