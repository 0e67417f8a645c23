/*-------------------------------------------------------------------------
 *
 * guc.c
 *	  Every setting of apikeys.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "access/parallel.h"
#include "miscadmin.h"
#include "utils/guc.h"

#include "base/compat.h"
#include "model/key_format.h"
#include "settings/guc.h"
#include "settings/hmac_secrets.h"

/*
 * apikeys.key_prefix: set it to a prefix of your own, so that a secret scanner
 * that finds a key can attribute it to you.
 */
char	   *guc_key_prefix;

/*
 * apikeys.last_used_throttle, in seconds: raise it to write less, lower it to
 * have the last use of a busy key on disk sooner; -1 records none but of keys
 * with an idle_timeout.
 */
int			guc_last_used_throttle;

/*
 * apikeys.flush_interval, in milliseconds: how long pending uses wait for
 * others to be persisted with them.  Raise it to write less often.
 */
int			guc_flush_interval;

/*
 * apikeys.max_tracked_keys: how many keys fit in shared memory.  Raise it when
 * apikeys.stats shows evictions or dropped uses.
 */
int			guc_max_tracked_keys;

/*
 * apikeys.cache_memory, in kilobytes: what all backends share of keys.  Raise it
 * when apikeys.stats shows many misses with many keys in use.
 */
int			guc_cache_memory;

/*
 * apikeys.cache: turn it off in a session that has to read what is in the tables,
 * to compare, or to look for an error.
 */
bool		guc_cache;

/*
 * apikeys.reservation_timeout, in milliseconds: after how long a reservation
 * that is neither settled nor released expires.  Set it above the longest
 * request that you serve, but not far above, since what a caller that crashed
 * has reserved is blocked until then.
 */
int			guc_reservation_timeout;

/*
 * apikeys.request_id_retention, in seconds: how long a request_id is known.
 * Set it above the longest time after which a client retries or voids; each
 * takes space until then.
 */
int			guc_request_id_retention;

/*
 * apikeys.usage_durability: set it to async where to record usage fast is worth
 * more than the last moments of it before a crash.
 */
int			guc_usage_durability;

static const struct config_enum_entry usage_durabilities[] = {
	{"sync", USAGE_DURABILITY_SYNC, false},
	{"async", USAGE_DURABILITY_ASYNC, false},
	{NULL, 0, false}};

/*
 * apikeys.max_lifetime, in seconds: set it where a policy says how old a
 * credential may become; 0 for none.  Users may not: it is a limit to them.
 */
int			guc_max_lifetime;

/*
 * apikeys.expiry_notice: set it to have owners of keys told before these expire;
 * the event and its NOTIFY are for the application that knows whom to write to.
 */
char	   *guc_expiry_notice;
NoticeList	guc_expiry_notices;

/*
 * apikeys.node: give each server a number of its own, from 1 on, if tables of usage
 * are replicated between them.  It is the server's, and no session's: what is used
 * here would be written as used elsewhere, and entries that others roll up count twice.
 */
int			guc_node;

/*
 * apikeys.redact_log: turn it off while you need something in the log that it
 * masks, or if its cost matters.  It applies to the whole server, and no
 * session can change it, since all sessions share the log.
 */
bool		guc_redact_log;

/*
 * apikeys.request_header: the header in which PostgREST's clients send the key,
 * if not x-api-key.  Empty: only "Authorization: Bearer" is read.
 */
char	   *guc_request_header;

/*
 * apikeys.notify_channel: set it to be notified of each committed change of a
 * key.  It applies to the whole server, so that no session is left out; it is
 * not shown to everybody, since whoever knows the name can listen.
 */
char	   *guc_notify_channel;

/*
 * apikeys.hmac_secret_file: set it so that somebody with a copy of the table, a
 * backup for example, cannot test guesses of a key.
 */
char	   *guc_hmac_secret_file;

/*
 * apikeys.max_own_keys: how many keys a user can have before he may not make
 * another one himself.  It is a limit to roles with the level own, so they may
 * not set it.
 */
int			guc_max_own_keys;

/*
 * apikeys.restrict_to_user: set it for each request, so that a mistake of the
 * application cannot reach the keys of another user.  Anyone may set it: it is no
 * protection against the application.  NULL: nobody is restricted by it.
 */
const RestrictedUser *guc_restricted_user = NULL;
static char *guc_restrict_to_user;

static bool
check_key_prefix(char **newval, void **extra, GucSource source)
{
	if (key_format_prefix_is_valid(*newval))
		return true;

	GUC_check_errdetail("A key prefix is 1 to %d characters of A-Z, a-z, 0-9, \"_\" and \"-\".",
						KEY_PREFIX_MAX_LEN);
	return false;
}

/* Too little would hold no row. */
static bool
check_cache_memory(int *newval, void **extra, GucSource source)
{
	if (*newval == 0 || *newval >= GUC_MIN_CACHE_MEMORY)
		return true;

	GUC_check_errdetail("It must be 0, or at least %d kB.", GUC_MIN_CACHE_MEMORY);
	return false;
}

/* A field name according to RFC 9110. */
static bool
check_request_header(char **newval, void **extra, GucSource source)
{
	if (strspn(*newval,
			   "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
			   "0123456789!#$%&'*+-.^_`|~") == strlen(*newval) &&
		pg_strcasecmp(*newval, "authorization") != 0)
		return true;

	GUC_check_errdetail("It must be the name of an HTTP header, and not \"Authorization\", which is looked at anyway.");
	return false;
}

/* NOTIFY accepts names up to the length of an identifier. */
static bool
check_notify_channel(char **newval, void **extra, GucSource source)
{
	if (strlen(*newval) < NAMEDATALEN)
		return true;

	GUC_check_errdetail("The name of a channel has at most %d bytes.", NAMEDATALEN - 1);
	return false;
}

static bool
check_expiry_notice(char **newval, void **extra, GucSource source)
{
	NoticeList	list;
	const char *fault = notice_list_parse(*newval, &list);

	if (fault != NULL)
	{
		GUC_check_errdetail("%s", fault);
		return false;
	}
	*extra = guc_malloc(LOG, sizeof(NoticeList));
	if (*extra == NULL)
		return false;
	memcpy(*extra, &list, sizeof(NoticeList));
	return true;
}

static void
assign_expiry_notice(const char *newval, void *extra)
{
	guc_expiry_notices = *(NoticeList *) extra;
}

/* True while guc_init() runs. */
static bool loading = false;
static bool preloaded = false;

/* Parses a UUID as the server writes it. */
static bool
parse_uuid(const char *value, pg_uuid_t *uuid)
{
	int			ndigits = 0;

	memset(uuid, 0, sizeof(pg_uuid_t));
	for (; *value != '\0'; value++)
	{
		const char *digit = strchr("0123456789abcdef", pg_ascii_tolower((unsigned char) *value));
		bool		hyphen_allowed = (ndigits == 8 || ndigits == 12 || ndigits == 16 || ndigits == 20);

		if (*value == '-' && hyphen_allowed && value[-1] != '-')
			continue;
		if (digit == NULL || ndigits == 2 * UUID_LEN)
			return false;
		uuid->data[ndigits / 2] |= (digit - "0123456789abcdef") << (ndigits % 2 == 0 ? 4 : 0);
		ndigits++;
	}
	return ndigits == 2 * UUID_LEN;
}

/*
 * A session that sets it before it has loaded the library may have set anything.
 * The server would ignore a value that is refused then, and nobody would be
 * restricted; so it is taken, and refused when it is used.
 */
static bool
check_restrict_to_user(char **newval, void **extra, GucSource source)
{
	RestrictedUser *user;

	if (**newval == '\0')
		return true;

	user = guc_malloc(LOG, sizeof(RestrictedUser));
	if (user == NULL)
		return false;
	user->valid = parse_uuid(*newval, &user->id);
	*extra = user;
	if (user->valid || loading)
		return true;

	GUC_check_errdetail("It must be a UUID, or empty.");
	return false;
}

static void
assign_restrict_to_user(const char *newval, void *extra)
{
	guc_restricted_user = extra;
}

/*
 * Reads the file of secrets.  It is called at each reload, even if the setting
 * has not changed.  If the file is rejected, setting and secrets stay as they
 * are.  Only the postmaster logs that; if it has not loaded the library, each
 * backend does.
 *
 * While the library is loaded there is no previous state: the setting is
 * accepted, there are no secrets, and no keys can be generated.  A parallel
 * worker must not fail either: it inherits the postmaster's secrets, and its
 * leader has logged the error.
 */
static bool
check_hmac_secret_file(char **newval, void **extra, GucSource source)
{
	const char *fault;

	if (**newval == '\0' || (InitializingParallelWorker && hmac_secrets_count() > 0))
		return true;

	fault = hmac_secrets_stage(*newval);
	if (fault == NULL)
	{
		*extra = guc_malloc(LOG, 1); /* not NULL: a set to adopt */
		return *extra != NULL;
	}

	if (InitializingParallelWorker)
		return true;
	if (loading || !preloaded)
		ereport(LOG,
				(errmsg("HMAC secret file \"%s\" was refused", *newval),
				 errdetail("%s", fault)));
	if (loading)
		return true;

	GUC_check_errmsg("HMAC secret file \"%s\" was refused", *newval);
	GUC_check_errdetail("%s", fault);
	return false;
}

/*
 * Adopts the secrets that the check hook has read.  It always ran just before:
 * a PGC_SIGHUP setting is never restored to an earlier value.
 */
static void
assign_hmac_secret_file(const char *newval, void *extra)
{
	if (extra != NULL)
		hmac_secrets_adopt();
	else if (*newval == '\0' && !InitializingParallelWorker)
		hmac_secrets_clear();
}

/* Defines the settings.  Called from _PG_init(). */
void
guc_init(void)
{
	preloaded = process_shared_preload_libraries_in_progress;
	loading = true;

	DefineCustomStringVariable("apikeys.key_prefix",
							   "Sets the prefix of newly generated keys.",
							   NULL,
							   &guc_key_prefix,
							   "gw-",
							   PGC_USERSET, 0,
							   check_key_prefix, NULL, NULL);

	DefineCustomIntVariable("apikeys.last_used_throttle",
							"Sets how often the last use of a key is written to its table.",
							"-1 records none but of keys with an idle_timeout.",
							&guc_last_used_throttle,
							300, -1, INT_MAX / 1000,
							PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);

	DefineCustomIntVariable("apikeys.flush_interval",
							"Sets how often pending uses are persisted.",
							NULL,
							&guc_flush_interval,
							10000, 10, INT_MAX / 2,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);

	/* PGC_POSTMASTER can only be defined while the server starts. */
	DefineCustomIntVariable("apikeys.max_tracked_keys",
							"Sets how many keys are tracked in shared memory.",
							NULL,
							&guc_max_tracked_keys,
							GUC_DEFAULT_TRACKED_KEYS, 16, GUC_MAX_TRACKED_KEYS,
							process_shared_preload_libraries_in_progress ? PGC_POSTMASTER : PGC_SIGHUP, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("apikeys.cache_memory",
							"Sets how much memory there is for keys that all backends share.",
							"0 leaves each backend to itself.",
							&guc_cache_memory,
							GUC_DEFAULT_CACHE_MEMORY, 0, GUC_MAX_CACHE_MEMORY,
							process_shared_preload_libraries_in_progress ? PGC_POSTMASTER : PGC_SIGHUP, GUC_UNIT_KB,
							check_cache_memory, NULL, NULL);

	DefineCustomBoolVariable("apikeys.cache",
							 "Looks up keys and budgets in memory before they are read from their tables.",
							 NULL,
							 &guc_cache,
							 true,
							 PGC_USERSET, GUC_NOT_IN_SAMPLE,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("apikeys.reservation_timeout",
							"Sets after how long a reservation that is not settled or released expires.",
							NULL,
							&guc_reservation_timeout,
							600000, 1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("apikeys.request_id_retention",
							"Sets how long the ids of recorded requests are kept.",
							NULL,
							&guc_request_id_retention,
							86400, 1, 366 * 86400,
							PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);

	DefineCustomEnumVariable("apikeys.usage_durability",
							 "Sets whether recorded usage is on disk before it is acknowledged.",
							 NULL,
							 &guc_usage_durability,
							 USAGE_DURABILITY_SYNC, usage_durabilities,
							 PGC_USERSET, 0,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("apikeys.max_lifetime",
							"Sets how long a key may live from its creation.",
							"0 sets no limit.",
							&guc_max_lifetime,
							0, 0, INT_MAX,
							PGC_SUSET, GUC_UNIT_S,
							NULL, NULL, NULL);

	DefineCustomStringVariable("apikeys.expiry_notice",
							   "Sets how long before a key expires there is an event.",
							   "It is a list of intervals; an empty one turns it off.",
							   &guc_expiry_notice,
							   "",
							   PGC_SIGHUP, GUC_LIST_INPUT,
							   check_expiry_notice, assign_expiry_notice, NULL);
	DefineCustomIntVariable("apikeys.max_own_keys",
							"Sets how many keys a user may have who makes them himself.",
							"It applies to roles with the level own.",
							&guc_max_own_keys,
							100, 0, INT_MAX,
							PGC_SUSET, 0,
							NULL, NULL, NULL);

	DefineCustomStringVariable("apikeys.restrict_to_user",
							   "Sets the user to whose keys all functions are restricted.",
							   "If it is empty, they are not.",
							   &guc_restrict_to_user,
							   "",
							   PGC_USERSET, 0,
							   check_restrict_to_user, assign_restrict_to_user, NULL);

	DefineCustomIntVariable("apikeys.node",
							"Sets the number of this server among those that replicate usage to each other.",
							"0 is for a server that is alone.",
							&guc_node,
							0, 0, GUC_MAX_NODE,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);

	DefineCustomBoolVariable("apikeys.redact_log",
							 "Masks raw keys in the log and in pg_stat_activity.",
							 NULL,
							 &guc_redact_log,
							 true,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);

	/* If a request could change it, it would apply to the next one as well. */
	DefineCustomStringVariable("apikeys.request_header",
							   "Sets the header of an HTTP request in which apikey_pre_request() looks for a key.",
							   "If it is empty, only \"Authorization: Bearer\" is looked at.",
							   &guc_request_header,
							   "x-api-key",
							   PGC_SUSET, 0,
							   check_request_header, NULL, NULL);

	DefineCustomStringVariable("apikeys.notify_channel",
							   "Sets the channel on which events are sent with NOTIFY.",
							   "An empty string sends none.",
							   &guc_notify_channel,
							   "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   check_notify_channel, NULL, NULL);

	DefineCustomStringVariable("apikeys.hmac_secret_file",
							   "Sets the file of the secrets with which keys are hashed.",
							   "A relative path starts at the data directory.",
							   &guc_hmac_secret_file,
							   "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   check_hmac_secret_file, assign_hmac_secret_file, NULL);

	MarkGUCPrefixReserved("apikeys");
	loading = false;
}
