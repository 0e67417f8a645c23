/*-------------------------------------------------------------------------
 *
 * derivation.c
 *	  Derives a key: a short-lived one that may do no more than another.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * Whoever has a raw key may derive keys from it, since none of them can do what
 * that cannot: what its parent may do is looked at whenever it is verified
 * (store/key_lookup.c).  So a key that is wider than its parent is refused here
 * only to tell the caller.  Its rate limits need not be narrower: a request counts
 * in those of both.
 *
 * The row of the parent is locked before its state is checked and its derived keys
 * are counted; verify does not wait for that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "api/max_lifetime.h"
#include "api/new_key.h"
#include "base/arguments.h"
#include "base/compat.h"
#include "flush/flush_outcomes.h"
#include "live/counters.h"
#include "live/idle_keys.h"
#include "model/key_config.h"
#include "model/key_format.h"
#include "model/period.h"
#include "model/status.h"
#include "model/within.h"
#include "settings/guc.h"
#include "store/derived_keys.h"
#include "store/key_deletion.h"
#include "store/own_keys.h"
#include "verify/authorize.h"
#include "verify/lookup.h"
#include "verify/own_key.h"
#include "verify/restriction.h"

#define DERIVED_MAX_LIFE	(30 * USECS_PER_DAY)
#define DERIVED_MAX_KEYS	1000	/* of one parent */

/* The arguments of apikey_derive. */
enum
{
	DERIVE_RAW_KEY,
	DERIVE_EXPIRES_IN,
	DERIVE_NAME,
	DERIVE_PERMISSIONS,
	DERIVE_RATE_LIMITS,
	DERIVE_METADATA,
	DERIVE_NARGUMENTS
};

PG_FUNCTION_INFO_V1(apikey_derive);

/* Raises 28000, with the code that verify would return, and counts it as verify does. */
pg_noreturn static void
refuse(Counter counter, const char *code, const char *reason)
{
	counters_add(counter, 1);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
			 errmsg("derivation refused: %s", reason),
			 errdetail_internal("%s", code)));
}

/*
 * Raises 28000 for a parent that verify would not take, and 55000 for one that is
 * itself derived; may update the time.
 */
static void
check_parent(const KeyRow *parent, TimestampTz *now)
{
	TimestampTz end;

	if (!parent->nulls[KEY_PARENT_ID])
		raise_wrong_state("cannot derive a key from a derived key");

	end = Min(store_key_expires_at(parent), idle_keys_end(parent, now));
	switch (status_at(*now, !parent->nulls[KEY_REVOKED_AT], end,
					  DatumGetBool(parent->values[KEY_ENABLED])))
	{
		case KEY_STATUS_REVOKED:
			refuse(COUNT_REVOKED, "REVOKED", "API key has been revoked");
		case KEY_STATUS_EXPIRED:
			refuse(COUNT_EXPIRED, "EXPIRED", "API key has expired");
		case KEY_STATUS_DISABLED:
			refuse(COUNT_DISABLED, "DISABLED", "API key is disabled");
		default:
			break;
	}
}

/* Returns the id of the key that argument 0 names, palloc'd; NULL if there is none. */
static pg_uuid_t *
find_parent(FunctionCallInfo fcinfo)
{
	CachedKey  *found = NULL;
	pg_uuid_t  *id;

	if (!PG_ARGISNULL(DERIVE_RAW_KEY))
		found = lookup_key((struct varlena *) PG_GETARG_POINTER(DERIVE_RAW_KEY));
	if (found == NULL)
		return NULL;

	/* The cache may lose it while its row is locked. */
	id = palloc(sizeof(pg_uuid_t));
	*id = *DatumGetUUIDP(found->row.values[KEY_ID]);
	return id;
}

/* Returns when the key expires: not after its parent.  Raises 22023. */
static TimestampTz
expiry_argument(FunctionCallInfo fcinfo, const KeyRow *parent, TimestampTz now)
{
	TimestampTz end;

	require_not_null(fcinfo, DERIVE_EXPIRES_IN, "expires_in");
	period_check_span("expires_in", PG_GETARG_INTERVAL_P(DERIVE_EXPIRES_IN), PERIOD_MAX_YEARS);
	end = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(now),
												  PG_GETARG_DATUM(DERIVE_EXPIRES_IN)));
	if (end < now + USECS_PER_SEC || end > now + DERIVED_MAX_LIFE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("expires_in is out of range"),
				 errdetail("It must be from 1 second to 30 days.")));

	return max_lifetime_shorten(Min(end, store_key_expires_at(parent)), now, now);
}

/* Sets a member of a configuration from an argument, unless that is null. */
static void
set_member(KeyConfig *config, ConfigMember member, FunctionCallInfo fcinfo, int argno)
{
	if (PG_ARGISNULL(argno))
		return;
	config->values[member] = PG_GETARG_DATUM(argno);
	config->nulls[member] = false;
}

/* Makes the configuration of a derived key.  Raises 22023. */
static void
make_config(FunctionCallInfo fcinfo, const KeyRow *parent, TimestampTz now, KeyConfig *config)
{
	memset(config, 0, sizeof(KeyConfig));
	memset(config->nulls, true, sizeof(config->nulls));
	config->values[CONFIG_NAME] = parent->values[KEY_NAME];
	config->nulls[CONFIG_NAME] = false;
	config->values[CONFIG_ENABLED] = BoolGetDatum(true);
	config->nulls[CONFIG_ENABLED] = false;
	set_member(config, CONFIG_NAME, fcinfo, DERIVE_NAME);
	set_member(config, CONFIG_PERMISSIONS, fcinfo, DERIVE_PERMISSIONS);
	set_member(config, CONFIG_RATE_LIMITS, fcinfo, DERIVE_RATE_LIMITS);
	set_member(config, CONFIG_METADATA, fcinfo, DERIVE_METADATA);
	config->values[CONFIG_EXPIRES_AT] = TimestampTzGetDatum(expiry_argument(fcinfo, parent, now));
	config->nulls[CONFIG_EXPIRES_AT] = false;
	key_config_check(config, now);
}

/* Raises 22023 for a key whose permissions exceed those of its parent. */
static void
check_within(const KeyRow *parent, const KeyConfig *config)
{
	KeyConfig	bound;
	KeyConfig	derived;
	KeyDocuments documents = {parent->values[KEY_PERMISSIONS], parent->values[KEY_RATE_LIMITS]};

	store_apply_plan(parent->nulls[KEY_PLAN] ? NULL : DatumGetTextPP(parent->values[KEY_PLAN]), &documents);
	store_key_config(parent, &bound);
	bound.values[CONFIG_PERMISSIONS] = documents.permissions;
	derived = bound;
	derived.values[CONFIG_PERMISSIONS] =
		DirectFunctionCall2(jsonb_concat, documents.permissions, config->values[CONFIG_PERMISSIONS]);
	if (within_find_excess(&derived, &bound) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("permissions must be within those of the parent")));
}

/*
 * Raises 53400 if a locked key has as many derived keys as it may have, not
 * counting those that have ended: they are deleted to make room.
 */
static void
make_room(const pg_uuid_t *parent_id, TimestampTz now)
{
	int64		excess = store_count_derived(parent_id) - DERIVED_MAX_KEYS + 1;
	ArrayType  *ended = NULL;

	if (excess > 0)
		ended = store_delete_ended_derived(parent_id, now);
	if (ended != NULL)
	{
		excess -= ArrayGetNItems(ARR_NDIM(ended), ARR_DIMS(ended));
		flush_outcomes_remove_keys(ended);
	}
	if (excess > 0)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many keys are derived from this one"),
				 errdetail("There may be %d that have neither expired nor been revoked.", DERIVED_MAX_KEYS)));
}

/* Returns the prefix of a key that is derived from this one. */
static char *
derived_prefix(const KeyRow *parent)
{
	char	   *prefix = key_format_masked_prefix(TextDatumGetCString(parent->values[KEY_PREFIX]));

	return prefix != NULL ? prefix : guc_key_prefix;
}

/*
 * apikey_derive(raw_key text, expires_in interval, name text, permissions jsonb,
 * rate_limits jsonb, metadata jsonb): one row (id, raw_key).
 */
Datum
apikey_derive(PG_FUNCTION_ARGS)
{
	TimestampTz now;
	KeyRow		parent;
	KeyConfig	config;
	NewKey		key;
	pg_uuid_t  *parent_id;
	text	   *raw_key;

	Assert(PG_NARGS() == DERIVE_NARGUMENTS);

	parent_id = find_parent(fcinfo);
	if (parent_id == NULL || !store_read_key(parent_id, restriction_by_setting(), true, &parent))
		refuse(COUNT_NOT_FOUND, "NOT_FOUND", "API key not found");
	now = GetCurrentTimestamp();
	check_parent(&parent, &now);
	make_config(fcinfo, &parent, now, &config);
	check_within(&parent, &config);
	own_key_check_config(store_key_hash(parent_id), &config);
	make_room(parent_id, now);

	raw_key = new_key_make(derived_prefix(&parent), now, &key);
	store_insert_derived(parent_id, &key, &config);
	authorize_record_use_of(&parent, now);

	return new_key_form_result(fcinfo, key.id, raw_key);
}
