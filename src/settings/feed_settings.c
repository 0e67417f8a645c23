/*-------------------------------------------------------------------------
 *
 * feed_settings.c
 *	  The settings of the feed, by which a standby tells of its use.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "libpq-fe.h"
#include "utils/guc.h"

#include "settings/feed_settings.h"

/*
 * apikeys.primary_conninfo: set it where the feed has to go another way, or as
 * another role, than replication does.  Empty: as primary_conninfo says.
 */
char	   *guc_primary_conninfo;

/*
 * apikeys.feed_interval, in milliseconds: lower it for limits that are exceeded by
 * less, raise it where the link is slow; 0 where a standby is to keep to itself.
 */
int			guc_feed_interval;

/* Returns what a connection string must not have, or NULL. */
static const char *
find_fault(const PQconninfoOption *options)
{
	for (const PQconninfoOption *option = options; option->keyword != NULL; option++)
	{
		/* Options marked "*" are hidden where they are shown: they are passwords. */
		if (option->val != NULL && option->val[0] != '\0' && strchr(option->dispchar, '*') != NULL)
			return option->keyword;
	}
	return NULL;
}

/* A setting is shown, logged and copied; a password in it would be, too. */
static bool
check_primary_conninfo(char **newval, void **extra, GucSource source)
{
	char	   *error = NULL;
	PQconninfoOption *options = PQconninfoParse(*newval, &error);
	const char *fault;

	if (options == NULL)
	{
		/* libpq's text may quote the string. */
		GUC_check_errdetail("It is no connection string.");
		PQfreemem(error);
		return false;
	}
	fault = find_fault(options);
	if (fault != NULL)
	{
		GUC_check_errdetail("It must not contain \"%s\".", fault);
		GUC_check_errhint("Put the password into a file, and name that with \"passfile\".");
	}
	PQconninfoFree(options);
	return fault == NULL;
}

/* Defines the settings.  Called from _PG_init(). */
void
feed_settings_init(void)
{
	DefineCustomStringVariable("apikeys.primary_conninfo",
							   "Sets how a standby connects to the server that it tells of its use.",
							   "Empty: as primary_conninfo says, to each database that has apikeys.",
							   &guc_primary_conninfo,
							   "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   check_primary_conninfo, NULL, NULL);

	DefineCustomIntVariable("apikeys.feed_interval",
							"Sets how often a standby tells of its use, and asks for that of others.",
							"0 turns it off.",
							&guc_feed_interval,
							1000, 0, INT_MAX / 2,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
}
