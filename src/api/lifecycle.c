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

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "api/key_arguments.h"
#include "api/key_bounds.h"
#include "api/key_references.h"
#include "api/max_lifetime.h"
#include "api/new_key.h"
#include "base/arguments.h"
#include "base/compat.h"
#include "model/json_document.h"
#include "model/key_config.h"
#include "store/derived_keys.h"
#include "store/events.h"
#include "store/keys.h"
#include "verify/own_key.h"

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
 * apikey_generate(name text, ..., prefix text, plan text, idle_timeout interval):
 * one row (id, raw_key).
 */
Datum
apikey_generate(PG_FUNCTION_ARGS)
{
	TimestampTz now = GetCurrentTimestamp();
	KeyConfig	config;
	NewKey		key;
	char	   *prefix;
	text	   *raw_key;

	Assert(PG_NARGS() == GENERATE_NARGS);

	prefix = key_arguments_generated(fcinfo, 0, 1, &config, now);
	raw_key = new_key_make(prefix, now, &key);
	store_insert_key(&key, false, &config, now);
	key_arguments_warn_of_limits(key.id);

	return new_key_form_result(fcinfo, key.id, raw_key);
}

/*
 * apikey_import(key_hash bytea, name text, key_prefix text, ...): uuid.
 */
Datum
apikey_import(PG_FUNCTION_ARGS)
{
	TimestampTz now = GetCurrentTimestamp();
	KeyConfig	config;
	NewKey		key;
	OwnKeyTexts *texts = own_key_texts_make();

	Assert(PG_NARGS() == 3 + IMPORT_NARGS);

	require_not_null(fcinfo, 0, "key_hash");
	require_not_null(fcinfo, 2, "key_prefix");
	key_config_check_hash(PG_GETARG_DATUM(0));
	key_config_check_masked(PG_GETARG_DATUM(2));

	key.id = new_key_id();
	key.hash = PG_GETARG_BYTEA_PP(0);
	key.key_prefix = text_to_cstring(PG_GETARG_TEXT_PP(2));
	config.values[CONFIG_NAME] = PG_GETARG_DATUM(1);
	config.nulls[CONFIG_NAME] = PG_ARGISNULL(1);
	key_arguments_imported(fcinfo, 3, &key, &config, now);
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
	key_arguments_warn_of_limits(key.id);

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
	key_arguments_warn_of_limits(id);

	PG_RETURN_DATUM(store_key_info(id));
}
