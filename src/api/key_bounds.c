/*-------------------------------------------------------------------------
 *
 * key_bounds.c
 *	  What a caller may make of keys who is restricted to those of a user.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A role with the level own acts for the user who is logged in, under the key
 * with which he is.  A key that it makes, that it has the raw key of (by
 * rotation), or that it enables, is within that key: see model/within.  A change
 * may also leave a key within what it was.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "api/key_bounds.h"
#include "api/max_lifetime.h"
#include "base/arguments.h"
#include "live/idle_keys.h"
#include "model/within.h"
#include "settings/guc.h"
#include "store/advisory_locks.h"
#include "store/own_keys.h"
#include "verify/identity.h"
#include "verify/restriction.h"

/*
 * Reads the key that is logged in, as it is now.  Not a derived one: what it made
 * would outlive it.  Raises 28000.
 */
static void
read_login(KeyConfig *login)
{
	KeyRow		row;

	if (!store_read_usable_key(identity_uuid(IDENTITY_ID), GetCurrentTimestamp(), &row))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("the key that is logged in cannot be used any more")));
	if (!row.nulls[KEY_PARENT_ID])
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("a derived key makes and changes no keys"),
				 errhint("Log in with the key that it was derived from.")));
	store_key_config(&row, login);
}

/*
 * Determines the bounds of a call.  One that adds a key takes the lock under which
 * own keys are counted, until the transaction ends: before the key that is logged
 * in is read, and before the row of any is locked.  Raises 28000, 22023.
 */
void
key_bounds_get(KeyBounds *bounds, bool adds)
{
	const pg_uuid_t *user_id = restriction_for_changes();

	bounds->user_id = NULL;
	bounds->own = restriction_to_own_keys();
	if (user_id != NULL)
		bounds->user_id = memcpy(palloc(UUID_LEN), user_id, UUID_LEN);
	if (bounds->own && adds)
		store_lock_own_keys(bounds->user_id);
	if (bounds->own)
		read_login(&bounds->login);
}

/* Raises 53400 if the user may not have so many more keys.  The lock is held. */
static void
check_count(const KeyBounds *bounds, int nkeys, TimestampTz now)
{
	if (bounds->own && store_count_live_keys(bounds->user_id, now) + nkeys > guc_max_own_keys)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("user has too many API keys"),
				 errdetail("apikeys.max_own_keys is %d.", guc_max_own_keys),
				 errhint("Revoke or delete one first.")));
}

/* Puts members of a document over those of the key that is logged in. */
static void
complete_document(const KeyBounds *bounds, KeyConfig *config, ConfigMember member)
{
	config->values[member] = DirectFunctionCall2(jsonb_concat, bounds->login.values[member],
												 config->values[member]);
}

/* Has a key expire with the one that is logged in, unless that is too late. */
static void
complete_expiry(const KeyBounds *bounds, KeyConfig *config, TimestampTz now)
{
	const KeyConfig *login = &bounds->login;
	TimestampTz end =
		login->nulls[CONFIG_EXPIRES_AT] ? DT_NOEND : DatumGetTimestampTz(login->values[CONFIG_EXPIRES_AT]);

	if (!config->nulls[CONFIG_EXPIRES_AT])
		return;
	end = max_lifetime_shorten(end, now, now);
	config->values[CONFIG_EXPIRES_AT] = TimestampTzGetDatum(end);
	config->nulls[CONFIG_EXPIRES_AT] = (end == DT_NOEND);
}

/*
 * Gives a new configuration what its caller has left out: the user, and with
 * level own what the key that is logged in says.
 */
static void
complete(const KeyBounds *bounds, KeyConfig *config, TimestampTz now)
{
	static const ConfigMember inherited[] = {
		CONFIG_TEAM_ID, CONFIG_BUDGET_ID, CONFIG_EXTERNAL_ID, CONFIG_PLAN,
		CONFIG_ALLOWED_IPS, CONFIG_IDLE_TIMEOUT
	};

	if (bounds->user_id != NULL && config->nulls[CONFIG_USER_ID])
	{
		config->values[CONFIG_USER_ID] = UUIDPGetDatum(bounds->user_id);
		config->nulls[CONFIG_USER_ID] = false;
	}
	if (!bounds->own)
		return;

	for (size_t i = 0; i < lengthof(inherited); i++)
	{
		if (!config->nulls[inherited[i]])
			continue;
		config->values[inherited[i]] = bounds->login.values[inherited[i]];
		config->nulls[inherited[i]] = bounds->login.nulls[inherited[i]];
	}
	complete_expiry(bounds, config, now);
	complete_document(bounds, config, CONFIG_PERMISSIONS);
	complete_document(bounds, config, CONFIG_RATE_LIMITS);
}

/* Returns a configuration with the documents that hold for its key. */
static KeyConfig
apply_plan(const KeyConfig *config)
{
	KeyConfig	effective = *config;
	KeyDocuments documents = {config->values[CONFIG_PERMISSIONS], config->values[CONFIG_RATE_LIMITS]};

	store_apply_plan(config->nulls[CONFIG_PLAN] ? NULL : DatumGetTextPP(config->values[CONFIG_PLAN]),
					 &documents);
	effective.values[CONFIG_PERMISSIONS] = documents.permissions;
	effective.values[CONFIG_RATE_LIMITS] = documents.rate_limits;
	return effective;
}

/* Raises 22023 for the key of another user. */
static void
check_user(const KeyBounds *bounds, const KeyConfig *config)
{
	if (bounds->user_id == NULL)
		return;
	if (!config->nulls[CONFIG_USER_ID] &&
		memcmp(DatumGetUUIDP(config->values[CONFIG_USER_ID]), bounds->user_id, UUID_LEN) == 0)
		return;

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("user_id is another user's"),
			 errdetail("The caller is restricted to the keys of one user.")));
}

/* Returns by what a configuration exceeds the key that is logged in, or NULL. */
static const char *
find_excess(const KeyBounds *bounds, const KeyConfig *config)
{
	KeyConfig	login = apply_plan(&bounds->login);
	KeyConfig	effective = apply_plan(config);

	return within_find_excess(&effective, &login);
}

/* Raises 22023 unless a key with this configuration may be handed out. */
static void
check_handed_out(const KeyBounds *bounds, const KeyConfig *config)
{
	const char *excess;

	check_user(bounds, config);
	if (!bounds->own)
		return;

	excess = find_excess(bounds, config);
	if (excess != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be within that of the key that is logged in", excess)));
}

/*
 * Completes the configuration of new keys, which has been checked.  Raises 22023
 * where it is out of bounds, and 53400 if the user may not have so many more.
 */
void
key_bounds_new(const KeyBounds *bounds, KeyConfig *config, int nkeys, TimestampTz now)
{
	complete(bounds, config, now);
	if (bounds->own)
		key_config_check(config, now);
	check_handed_out(bounds, config);
	check_count(bounds, nkeys, now);
}

/*
 * The same for the successor of a locked key, which expires at expires_at, or
 * DT_NOEND; adds says whether the key goes on beside it.
 */
void
key_bounds_check_rotation(const KeyBounds *bounds, const KeyRow *old,
						  TimestampTz expires_at, bool adds, TimestampTz now)
{
	KeyConfig	config;

	store_key_config(old, &config);
	config.values[CONFIG_EXPIRES_AT] = TimestampTzGetDatum(expires_at);
	config.nulls[CONFIG_EXPIRES_AT] = (expires_at == DT_NOEND);
	check_handed_out(bounds, &config);
	if (adds)
		check_count(bounds, 1, now);
}

static bool
is_enabled(const KeyConfig *config)
{
	return DatumGetBool(config->values[CONFIG_ENABLED]);
}

/*
 * Is a key within what it was, so that whoever has it has gained nothing?  To have
 * its idleness counted anew is a gain.
 */
static bool
has_gained_nothing(const KeyConfig *present, const KeyConfig *config)
{
	KeyConfig	before = apply_plan(present);
	KeyConfig	after = apply_plan(config);

	bool		restarts = config->restarts_idleness && !present->nulls[CONFIG_IDLE_TIMEOUT];

	return within_find_excess(&after, &before) == NULL && !restarts &&
		   (is_enabled(present) || !is_enabled(config));
}

/*
 * Raises 22023 unless a key may be changed so, and 55000 for an expired one,
 * which would count as a new one.
 */
void
key_bounds_check_change(const KeyBounds *bounds, const KeyRow *key, const KeyConfig *config,
						TimestampTz now)
{
	KeyConfig	present;
	TimestampTz idle_end;

	check_user(bounds, config);
	if (!bounds->own)
		return;

	idle_end = idle_keys_end(key, &now);
	if (Min(store_key_expires_at(key), idle_end) < now)
		raise_wrong_state("cannot update an expired key");
	store_key_config(key, &present);
	if (!has_gained_nothing(&present, config))
		check_handed_out(bounds, config);
}
