/*-------------------------------------------------------------------------
 *
 * key_arguments.c
 *	  What the arguments of functions that make keys say of these.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "api/key_arguments.h"
#include "api/key_bounds.h"
#include "api/key_references.h"
#include "api/max_lifetime.h"
#include "base/arguments.h"
#include "base/compat.h"
#include "live/rate_limiter.h"
#include "model/key_config.h"
#include "model/key_format.h"
#include "model/rate_limits.h"
#include "settings/guc.h"
#include "store/key_limits.h"

/* In apikey_generate's arguments prefix comes between these members. */
#define PREFIX_ARGNO		(CONFIG_ALLOWED_IPS + 1)

StaticAssertDecl(CONFIG_PLAN == PREFIX_ARGNO, "the arguments after prefix begin with plan");

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

static void
set_enabled(KeyConfig *config)
{
	config->values[CONFIG_ENABLED] = BoolGetDatum(true);
	config->nulls[CONFIG_ENABLED] = false;
}

/*
 * Makes the configuration of keys that are to be generated from the arguments of
 * apikey_generate, which start with argument first, and returns their prefix.
 * Checks whether the caller may make so many of them, and locks what they name.
 * Raises 22023, 23503, 28000, 53400.
 */
char *
key_arguments_generated(FunctionCallInfo fcinfo, int first, int nkeys,
						KeyConfig *config, TimestampTz now)
{
	KeyBounds	bounds;

	key_bounds_get(&bounds, true);
	config_from_arguments(config, fcinfo, first, CONFIG_NAME, PREFIX_ARGNO);
	config_from_arguments(config, fcinfo, first + PREFIX_ARGNO + 1, CONFIG_PLAN,
						  CONFIG_ENABLED - CONFIG_PLAN);
	set_enabled(config);
	key_config_check(config, now);
	key_bounds_new(&bounds, config, nkeys, now);
	max_lifetime_apply(config, now, now);

	key_references_lock(config, NULL);
	return prefix_argument(fcinfo, first + PREFIX_ARGNO);
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
 * Completes the configuration of keys that are to be imported, whose name is set,
 * from the arguments of apikey_import from description on, and of key hash_secret
 * and created_at.  Raises 22023, 28000.
 */
void
key_arguments_imported(FunctionCallInfo fcinfo, int first, NewKey *key, KeyConfig *config,
					   TimestampTz now)
{
	const int	secret = first + CONFIG_PLAN - CONFIG_DESCRIPTION;
	KeyBounds	bounds;

	key_bounds_get(&bounds, true);
	key->hash_secret = NULL;
	if (!PG_ARGISNULL(secret))
	{
		key_config_check_hash_secret(PG_GETARG_DATUM(secret));
		key->hash_secret = PG_GETARG_TEXT_PP(secret);
	}
	key->created_at = created_at_argument(fcinfo, secret + 1, now);

	config_from_arguments(config, fcinfo, first, CONFIG_DESCRIPTION, CONFIG_PLAN - CONFIG_DESCRIPTION);
	config_from_arguments(config, fcinfo, secret + 2, CONFIG_PLAN, CONFIG_ENABLED - CONFIG_PLAN);
	set_enabled(config);
	key_config_check(config, now);
	key_bounds_new(&bounds, config, 1, now);
	max_lifetime_apply(config, key->created_at, now);
}

/* Warns if a stored key has rate limits that this server cannot count. */
void
key_arguments_warn_of_limits(const pg_uuid_t *id)
{
	KeyLimits	key;

	if (rate_limiter_available() || !store_key_limits(id, NULL, &key) || key.limits == NULL)
		return;

	ereport(WARNING,
			(errmsg("apikey_verify will not accept this key"),
			 errdetail("Its rate limits need shared memory, which this server does not have."),
			 hint_preload()));
}
