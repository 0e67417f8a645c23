/*-------------------------------------------------------------------------
 *
 * store.h
 *	  What the other rooms ask of the tables.
 *
 * Every function here runs with the rights of the extension's owner, so a
 * caller of apikeys needs EXECUTE and nothing else.  What is returned lives
 * in the caller's memory context.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_STORE_H
#define APIKEYS_STORE_STORE_H

#include "funcapi.h"
#include "storage/lockdefs.h"
#include "utils/array.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "base/saved_snapshot.h"
#include "model/budget_config.h"
#include "model/key_config.h"
#include "model/key_hash.h"
#include "model/permissions.h"
#include "settings/hmac_secrets.h"

/* The first columns are those of apikey_verify's answer, in its order. */
typedef enum KeyColumn
{
	KEY_ID,
	KEY_ROOT_ID,
	KEY_NAME,
	KEY_PREFIX,
	KEY_USER_ID,
	KEY_TEAM_ID,
	KEY_BUDGET_ID,
	KEY_EXTERNAL_ID,
	KEY_PERMISSIONS,
	KEY_RATE_LIMITS,
	KEY_METADATA,
	KEY_EXPIRES_AT,
	KEY_DESCRIPTION,
	KEY_ALLOWED_IPS,
	KEY_ENABLED,
	KEY_REVOKED_AT,
	KEY_ROTATED_AT,
	KEY_XMIN,
	KEY_NCOLUMNS
} KeyColumn;

#define KEY_NRESULT_COLUMNS (KEY_EXPIRES_AT + 1)

typedef struct KeyRow
{
	Datum		values[KEY_NCOLUMNS];
	bool		nulls[KEY_NCOLUMNS];
	HeapTuple	tuple;			/* what the values point to */
	bool		own;			/* written by this transaction */
} KeyRow;

/* A hash under which a key may be stored, and the secret that makes it so. */
typedef struct KeyCandidate
{
	bytea	   *hash;
	const char *secret;			/* its name; NULL: plain SHA-256 */
} KeyCandidate;

/* The secrets in use, those that are yet to be loaded, and none. */
#define KEY_MAX_CANDIDATES	(HMAC_SECRETS_MAX * 2 + 1)

/* A key that is to be signed anew. */
typedef struct RehashRequest
{
	pg_uuid_t	id;
	uint8		old_hash[KEY_HASH_LEN];
	uint8		new_hash[KEY_HASH_LEN];
	char		secret[HMAC_SECRET_NAME_MAX_LEN + 1]; /* of the new hash */
} RehashRequest;

/* What a new key consists of, apart from its configuration. */
typedef struct NewKey
{
	pg_uuid_t  *id;
	bytea	   *hash;
	text	   *hash_secret;	/* NULL: plain SHA-256 */
	const char *key_prefix;		/* masked form */
	TimestampTz created_at;
} NewKey;

/* What rotation does to the old key. */
typedef struct PredecessorExpiry
{
	TimestampTz expires_at;		/* DT_NOEND: never */
	bool		revoke;			/* at once */
} PredecessorExpiry;

/* apikey_list's arguments in their order, and where the page starts. */
typedef enum ListArgument
{
	LIST_STATUS,
	LIST_USER_ID,
	LIST_TEAM_ID,
	LIST_EXTERNAL_ID,
	LIST_ROW_LIMIT,
	LIST_ROW_OFFSET,
	LIST_AFTER,
	LIST_AFTER_CREATED_AT,
	LIST_NARGUMENTS
} ListArgument;

typedef struct ListFilter
{
	Datum		values[LIST_NARGUMENTS];
	bool		nulls[LIST_NARGUMENTS];
} ListFilter;

/* apikey_events's arguments in their order. */
typedef enum EventArgument
{
	EVENT_KEY_ID,
	EVENT_SINCE,
	EVENT_ROW_LIMIT,
	EVENT_NARGUMENTS
} EventArgument;

typedef struct EventFilter
{
	Datum		values[EVENT_NARGUMENTS];
	bool		nulls[EVENT_NARGUMENTS];
} EventFilter;

/* What a role is to have, or to have no longer. */
typedef struct Grant
{
	Oid			role;
	const char *access;			/* level, for the event */
	ArrayType  *functions;		/* text[]: names of those to call */
	ArrayType  *views;			/* text[]: names of those to read */
	bool		revoke;
} Grant;

/* When a key was used last. */
typedef struct KeyUse
{
	pg_uuid_t	id;
	TimestampTz used_at;
} KeyUse;

/* What became of a use that was to be persisted. */
typedef enum UseOutcome
{
	USE_BUSY,					/* its row is locked: try again later */
	USE_PERSISTED,				/* the table has it or a later one */
	USE_KEY_GONE				/* the key has been deleted */
} UseOutcome;

/* A batch of usage entries that is rolled up. */
typedef struct RollUp
{
	int			limit;			/* look at so many entries */
	int64		skip;			/* after so many that cannot be taken now */
	bool		alone;			/* nobody writes a last use but flushes */
	int64		seen;			/* result: so many there were */
	int64		taken;			/* result: so many were taken */
} RollUp;

/* What the limits of a key are, and whom it shares them with. */
typedef struct KeyLimits
{
	pg_uuid_t	root_id;
	RateLimits	limits;
	bool		has_budget;		/* it points to one, which may not exist */
	pg_uuid_t	budget_id;
} KeyLimits;

/* apikey_usage's row. */
#define USAGE_NCOLUMNS 7

typedef struct UsageRow
{
	Datum		values[USAGE_NCOLUMNS];
	bool		nulls[USAGE_NCOLUMNS];
} UsageRow;

/* A budget, and what is spent of it in the present period. */
typedef struct BudgetRow
{
	char	   *name;
	Numeric		max_cost;
	Numeric		spent;
	Numeric		remaining;
	TimestampTz created_at;
	TimestampTz started_at;		/* the period */
	TimestampTz ends_at;		/* DT_NOEND: never */
	bool		own;			/* written by this transaction */
} BudgetRow;

/* What the usage of a key is charged to. */
typedef struct Charge
{
	KeyLimits	key;			/* with a budget that exists, if there is a cost */
	TimestampTz period;			/* when that one's started, if so */
} Charge;

/* spi.c */
extern Oid	store_relation_oid(const char *name);
extern bool store_lock_extension(Oid extension, LOCKMODE mode, bool wait);

/* keys.c */
extern bool store_find_key(const KeyCandidate *candidates, int ncandidates, KeyRow *row,
						   int *candidate);
extern bool store_key_limits(const pg_uuid_t *id, KeyLimits *limits);
extern bool store_lock_key(const pg_uuid_t *id, KeyRow *row);
extern bool store_insert_key(const NewKey *key, bool imported,
							 const KeyConfig *config, TimestampTz now);
extern void store_rotate_key(const pg_uuid_t *id, const PredecessorExpiry *predecessor,
							 const NewKey *successor, text *name,
							 TimestampTz expires_at);
extern void store_update_key(const pg_uuid_t *id, const KeyConfig *config,
							 TimestampTz now);
extern void store_revoke_key(const pg_uuid_t *id, TimestampTz now);
extern bool store_delete_key(ArrayType *id, TimestampTz now);
extern ArrayType *store_delete_expired(TimestampTz until, TimestampTz now);

/* rehash.c */
extern int64 store_rehash_keys(const RehashRequest *requests, int nrequests);
extern int	store_missing_secrets(const char *const *known, int nknown, char **missing,
								  int max);

/* lists.c */
extern Datum store_key_info(const pg_uuid_t *id);
extern bool store_page_start(const pg_uuid_t *id, TimestampTz *created_at);
extern void store_list_keys(ListFilter *filter, ReturnSetInfo *rsinfo);
extern void store_list_events(EventFilter *filter, ReturnSetInfo *rsinfo);

/* grants.c */
extern void store_change_grant(const Grant *grant, TimestampTz now);

/* usage.c */
extern void store_last_use(const pg_uuid_t *id, TimestampTz used_at,
						   TimestampTz due_before);
extern bool store_lock_flush(bool wait);
extern int64 store_persist_uses(const KeyUse *uses, int nuses, UseOutcome *outcomes);
extern void store_roll_up(RollUp *batch);
extern bool store_add_usage(const pg_uuid_t *id, int64 tokens, Numeric cost,
							TimestampTz now, Charge *charge);
extern bool store_usage(const pg_uuid_t *id, UsageRow *row);

/* budgets.c */
extern bool store_find_budget(const pg_uuid_t *id, BudgetRow *row, SavedSnapshot *saved);
extern bool store_lock_budget(const pg_uuid_t *id, BudgetConfig *config);
extern void store_lock_budget_for_share(const pg_uuid_t *id);
extern Datum store_budget_info(const pg_uuid_t *id);
extern bool store_budget_has_keys(const pg_uuid_t *id);
extern void store_insert_budget(const pg_uuid_t *id, const BudgetConfig *config,
								TimestampTz now);
extern void store_update_budget(const pg_uuid_t *id, const BudgetConfig *config,
								TimestampTz now);
extern void store_delete_budget(const pg_uuid_t *id, TimestampTz now);

#endif							/* APIKEYS_STORE_STORE_H */
