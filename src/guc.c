/*-------------------------------------------------------------------------
 *
 * guc.c
 *	  Every setting of apikeys.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"

#include "guc.h"
#include "keyformat.h"

/*
 * apikeys.key_prefix: set it to tell your keys from other people's, so that
 * a scanner that finds one knows whose it is.
 */
char	   *guc_key_prefix;

/*
 * apikeys.last_used_throttle, in seconds: raise it to write less, lower it to
 * see the last use of a busy key sooner on disk, -1 to keep no last use.
 */
int			guc_last_used_throttle;

static bool
check_key_prefix(char **newval, void **extra, GucSource source)
{
	if (keyformat_prefix_is_valid(*newval))
		return true;

	GUC_check_errdetail("A key prefix is 1 to %d characters of A-Z, a-z, 0-9, \"_\" and \"-\".",
						KEY_PREFIX_MAX_LEN);
	return false;
}

/* Defines the settings; called once, when the library is loaded. */
void
guc_init(void)
{
	DefineCustomStringVariable("apikeys.key_prefix",
							   "Sets the prefix of newly generated keys.",
							   NULL,
							   &guc_key_prefix,
							   "gw-",
							   PGC_USERSET, 0,
							   check_key_prefix, NULL, NULL);

	DefineCustomIntVariable("apikeys.last_used_throttle",
							"Sets how often the last use of a key is written to its table.",
							"-1 keeps no last use.",
							&guc_last_used_throttle,
							300, -1, INT_MAX / 1000,
							PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);

	MarkGUCPrefixReserved("apikeys");
}
