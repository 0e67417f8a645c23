/*-------------------------------------------------------------------------
 *
 * restriction.c
 *	  To whose keys a call is restricted.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A role may read, or change, everybody's keys if it has a level that says so,
 * which a function shows that this level alone may execute.  Any other role that
 * may call a function acts for the user of the key that the transaction has
 * logged in with.  So a right that is granted by hand, and one that a REVOKE by
 * hand has left behind, reaches no further than that.
 *
 * The role is the one that calls, GetUserId(): a function that is SECURITY
 * DEFINER acts with its owner's level, and hands on no more than its owner has.
 * That is known only in a C function that is not SECURITY DEFINER itself.
 *
 * apikeys.restrict_to_user restricts everybody who has set it, the owner too.
 * Results are valid until the transaction, or the login, ends.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "settings/guc.h"
#include "store/catalog.h"
#include "verify/identity.h"
#include "verify/restriction.h"

/* Whoever may execute them has all keys to read, or to change. */
#define READS_ALL_KEYS		"reads_all_keys"
#define CHANGES_ALL_KEYS	"changes_all_keys"

/*
 * Returns the user of apikeys.restrict_to_user; NULL: it is not set.  Raises 22023
 * for a value from before the library was loaded.
 */
const pg_uuid_t *
restriction_by_setting(void)
{
	if (guc_restricted_user == NULL)
		return NULL;
	if (!guc_restricted_user->valid)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for parameter \"%s\"", "apikeys.restrict_to_user"),
				 errdetail("It must be a UUID, or empty.")));
	return &guc_restricted_user->id;
}

/*
 * Returns the user of the key that has logged in.  The setting may name no other.
 * Raises 28000.
 */
static const pg_uuid_t *
logged_in_user(void)
{
	const pg_uuid_t *user_id = identity_uuid(IDENTITY_USER_ID);
	const pg_uuid_t *setting = restriction_by_setting();

	if (identity_uuid(IDENTITY_ID) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("no key is logged in"),
				 errdetail("Without the level read or manage, only the keys of the user who is logged in can be reached."),
				 errhint("Call apikey_login first, in the same transaction.")));
	if (user_id == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("the key that is logged in has no user_id"),
				 errdetail("Without the level read or manage, only the keys of the user who is logged in can be reached.")));
	if (setting != NULL && memcmp(setting, user_id, sizeof(pg_uuid_t)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("another user than that of apikeys.restrict_to_user is logged in")));
	return user_id;
}

/* Is the caller restricted to the keys of the user who is logged in? */
bool
restriction_to_own_keys(void)
{
	return !store_may_execute(CHANGES_ALL_KEYS);
}

/*
 * Returns the user to whose keys the caller is restricted where he reads; NULL:
 * none.  Raises 28000, 22023.
 */
const pg_uuid_t *
restriction_for_reading(void)
{
	return store_may_execute(READS_ALL_KEYS) ? restriction_by_setting() : logged_in_user();
}

/* The same, where he changes keys. */
const pg_uuid_t *
restriction_for_changes(void)
{
	return restriction_to_own_keys() ? logged_in_user() : restriction_by_setting();
}
