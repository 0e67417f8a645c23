/*-------------------------------------------------------------------------
 *
 * lifecycle.c
 *	  Generates, imports and updates keys.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * Changing a key locks its row, checks the state found there, and only then
 * writes.  So if two sessions change a key at once, the second waits and then
 * sees what the first has done.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "api/key_bounds.h"
#include "api/key_references.h"
#include "api/max_lifetime.h"
#include "api/new_key.h"
#include "base/arguments.h"
#include "base/compat.h"
#include "live/rate_limiter.h"
#include "model/json_document.h"
#include "model/key_config.h"
#include "model/key_format.h"
#include "model/rate_limits.h"
#include "settings/guc.h"
#include "store/derived_keys.h"
#include "store/events.h"
#include "store/key_limits.h"
#include "store/keys.h"
#include "verify/own_key.h"

/* In apikey_generate's arguments prefix comes between these members. */
#define PREFIX_ARGNO		(CONFIG_ALLOWED_IPS + 1)

StaticAssertDecl(CONFIG_PLAN == PREFIX_ARGNO, "the arguments after prefix begin with plan");

PG_FUNCTION_INFO_V1(apikey_generate);
PG_FUNCTION_INFO_V1(apikey_import);
PG_FUNCTION_INFO_V1(apikey_update);

/*
 * Reads, and with lock, locks the key whose id is argument 0, if it is within
 * reach; returns the id, and its row.  Raises P0002, 22023.
 */
static pg_uuid_t *
read_key(FunctionCallInfo fcinfo, const KeyBounds *bounds, bool lock, KeyRow *key)
{
	pg_uuid_t  *id;

	require_not_null(fcinfo, 0, "id");
	id = PG_GETARG_UUID_P(0);
	if (!store_read_key(id, bounds->user_id, lock, key))
		raise_key_not_found(id);

	return id;
}

static TimestampTz
config_expires_at(const KeyConfig *config)
{
	return config->nulls[CONFIG_EXPIRES_AT] ? DT_NOEND : DatumGetTimestampTz(config->values[CONFIG_EXPIRES_AT]);
}

/*
 * Sets n members of a configuration, from member on, to arguments from argno
 * on.
 */
static void
config_from_arguments(KeyConfig *config, FunctionCallInfo fcinfo,
					  int argno, ConfigMember member, int n)
{
	Assert(argno + n <= PG_NARGS());
	Assert(member + n <= CONFIG_NMEMBERS);

	for (int i = 0; i < n; i++)
	{
		config->values[member + i] = fcinfo->args[argno + i].value;
		config->nulls[member + i] = fcinfo->args[argno + i].isnull;
	}
}

/*
 * Returns the prefix argument, by default apikeys.key_prefix.  Raises 22023.
 */
static char *
prefix_argument(FunctionCallInfo fcinfo, int argno)
{
	char	   *prefix = NULL;

	if (PG_ARGISNULL(argno))
		return guc_key_prefix;

	if (toast_raw_datum_size(PG_GETARG_DATUM(argno)) - VARHDRSZ <= KEY_PREFIX_MAX_LEN)
		prefix = text_to_cstring(PG_GETARG_TEXT_PP(argno));
	if (prefix == NULL || !key_format_prefix_is_valid(prefix))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid key prefix"),
				 errdetail("A key prefix is 1 to %d characters of A-Z, a-z, 0-9, \"_\" and \"-\".",
						   KEY_PREFIX_MAX_LEN)));
	return prefix;
}

/* Warns if a stored key has rate limits that this server cannot count. */
static void
warn_of_rate_limits(const pg_uuid_t *id)
{
	KeyLimits	key;

	if (rate_limiter_available() || !store_key_limits(id, NULL, &key) || key.limits == NULL)
		return;

	ereport(WARNING,
			(errmsg("apikey_verify will not accept this key"),
			 errdetail("Its rate limits need shared memory, which this server does not have."),
			 hint_preload()));
}

/*
 * apikey_generate(name text, ..., prefix text, plan text, idle_timeout interval):
 * one row (id, raw_key).
 */
Datum
apikey_generate(PG_FUNCTION_ARGS)
{
	TimestampTz now = GetCurrentTimestamp();
	KeyBounds	bounds;
	KeyConfig	config;
	NewKey		key;
	text	   *raw_key;

	Assert(PG_NARGS() == CONFIG_ENABLED + 1);

	key_bounds_get(&bounds, true);
	config_from_arguments(&config, fcinfo, 0, CONFIG_NAME, PREFIX_ARGNO);
	config_from_arguments(&config, fcinfo, PREFIX_ARGNO + 1, CONFIG_PLAN,
						  CONFIG_ENABLED - CONFIG_PLAN);
	config.values[CONFIG_ENABLED] = BoolGetDatum(true);
	config.nulls[CONFIG_ENABLED] = false;
	key_config_check(&config, now);
	key_bounds_new(&bounds, &config, now);
	max_lifetime_apply(&config, now, now);

	key_references_lock(&config, NULL);
	raw_key = new_key_make(prefix_argument(fcinfo, PREFIX_ARGNO), now, &key);
	store_insert_key(&key, false, &config, now);
	warn_of_rate_limits(key.id);

	return new_key_form_result(fcinfo, key.id, raw_key);
}

/* Returns created_at of an imported key, by default now.  Raises 22023. */
static TimestampTz
created_at_argument(FunctionCallInfo fcinfo, int argno, TimestampTz now)
{
	TimestampTz created_at;

	if (PG_ARGISNULL(argno))
		return now;

	created_at = PG_GETARG_TIMESTAMPTZ(argno);
	if (TIMESTAMP_NOT_FINITE(created_at) || created_at > now)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("created_at must be in the past")));
	return created_at;
}

/*
 * apikey_import(key_hash bytea, name text, key_prefix text, ...): uuid.
 */
Datum
apikey_import(PG_FUNCTION_ARGS)
{
	TimestampTz now = GetCurrentTimestamp();
	KeyBounds	bounds;
	KeyConfig	config;
	NewKey		key;
	OwnKeyTexts *texts = own_key_texts_make();

	Assert(PG_NARGS() == 15 + CONFIG_ENABLED - CONFIG_PLAN);

	key_bounds_get(&bounds, true);
	require_not_null(fcinfo, 0, "key_hash");
	require_not_null(fcinfo, 2, "key_prefix");
	key_config_check_hash(PG_GETARG_DATUM(0));
	key_config_check_masked(PG_GETARG_DATUM(2));

	key.id = new_key_id();
	key.hash = PG_GETARG_BYTEA_PP(0);
	key.key_prefix = text_to_cstring(PG_GETARG_TEXT_PP(2));
	key.hash_secret = NULL;
	if (!PG_ARGISNULL(13))
	{
		key_config_check_hash_secret(PG_GETARG_DATUM(13));
		key.hash_secret = PG_GETARG_TEXT_PP(13);
	}
	key.created_at = created_at_argument(fcinfo, 14, now);

	config_from_arguments(&config, fcinfo, 1, CONFIG_NAME, 1);
	config_from_arguments(&config, fcinfo, 3, CONFIG_DESCRIPTION,
						  CONFIG_PLAN - CONFIG_DESCRIPTION);
	config_from_arguments(&config, fcinfo, 15, CONFIG_PLAN, CONFIG_ENABLED - CONFIG_PLAN);
	config.values[CONFIG_ENABLED] = BoolGetDatum(true);
	config.nulls[CONFIG_ENABLED] = false;
	key_config_check(&config, now);
	key_bounds_new(&bounds, &config, now);
	max_lifetime_apply(&config, key.created_at, now);
	own_key_add_text(texts, "key_prefix", PG_GETARG_TEXT_PP(2));
	if (key.hash_secret != NULL)
		own_key_add_text(texts, "hash_secret", key.hash_secret);
	own_key_add_config(texts, &config);
	own_key_check(texts, key.hash);

	key_references_lock(&config, NULL);
	if (!store_insert_key(&key, true, &config, now))
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("an API key with this hash exists already")));
	warn_of_rate_limits(key.id);

	PG_RETURN_UUID_P(key.id);
}

/*
 * Makes the configuration of a key after the changes of argument 1, within
 * bounds; returns whether it is another one, or its idleness is to be counted
 * anew.  Raises 55000, 22023.
 */
static bool
change_config(FunctionCallInfo fcinfo, const KeyBounds *bounds, const KeyRow *key,
			  TimestampTz now, KeyConfig *config)
{
	KeyConfig	present;

	if (!key->nulls[KEY_REVOKED_AT])
		raise_wrong_state("cannot update a revoked key");

	if (!key->nulls[KEY_PARENT_ID])
		raise_wrong_state("cannot update a derived key");
	store_key_config(key, &present);
	*config = present;
	key_config_change(config, PG_GETARG_JSONB_P(1), now);
	if (config_expires_at(config) != store_key_expires_at(key))
		max_lifetime_apply(config, DatumGetTimestampTz(key->values[KEY_CREATED_AT]), now);
	if (!key->nulls[KEY_ROTATED_AT] && config_expires_at(config) > store_key_expires_at(key))
		raise_wrong_state("cannot extend the life of a key that has been rotated");
	key_bounds_check_change(bounds, key, config, now);

	return config->restarts_idleness || !key_config_equal(config, &present);
}

/*
 * apikey_update(id uuid, changes jsonb): a row as of apikeys.info.  A call
 * that changes nothing locks nothing, so no revocation has to wait for it.
 */
Datum
apikey_update(PG_FUNCTION_ARGS)
{
	KeyBounds	bounds;
	KeyRow		key;
	KeyConfig	config;
	TimestampTz now = GetCurrentTimestamp();
	pg_uuid_t  *id;
	bool		changes;

	key_bounds_get(&bounds, false);
	require_not_null(fcinfo, 1, "changes");
	json_document_check_size("changes", PG_GETARG_DATUM(1), JSON_CHANGES_MAX_BYTES);
	id = read_key(fcinfo, &bounds, false, &key);
	changes = change_config(fcinfo, &bounds, &key, now, &config);
	if (changes)
	{
		read_key(fcinfo, &bounds, true, &key);
		now = GetCurrentTimestamp();
		changes = change_config(fcinfo, &bounds, &key, now, &config);
	}

	if (changes)
	{
		own_key_check_config(store_key_hash(id), &config);
		key_references_lock(&config, &key);
		store_update_key(id, &config, now);
		store_move_derived(id);
	}
	else
		store_add_key_unchanged(id, now);
	warn_of_rate_limits(id);

	PG_RETURN_DATUM(store_key_info(id));
}
