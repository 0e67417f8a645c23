/*-------------------------------------------------------------------------
 *
 * keyconfig.h
 *	  What the owner of a key decides about it: checked in one place.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_KEYCONFIG_H
#define APIKEYS_KEYCONFIG_H

#include "datatype/timestamp.h"
#include "utils/jsonb.h"

#define NAME_MAX_CHARS			255
#define SECRET_NAME_MAX_CHARS	63

/* In the order of apikey_generate's arguments. */
typedef enum ConfigMember
{
	CONFIG_NAME,
	CONFIG_DESCRIPTION,
	CONFIG_USER_ID,
	CONFIG_TEAM_ID,
	CONFIG_BUDGET_ID,
	CONFIG_PERMISSIONS,
	CONFIG_RATE_LIMITS,
	CONFIG_EXPIRES_AT,
	CONFIG_METADATA,
	CONFIG_EXTERNAL_ID,
	CONFIG_ALLOWED_IPS,
	CONFIG_ENABLED,
	CONFIG_NMEMBERS
} ConfigMember;

typedef struct KeyConfig
{
	Datum		values[CONFIG_NMEMBERS];
	bool		nulls[CONFIG_NMEMBERS];
} KeyConfig;

extern void keyconfig_check(KeyConfig *config, TimestampTz now);
extern void keyconfig_change(KeyConfig *config, Jsonb *changes, TimestampTz now);
extern void keyconfig_check_hash(const bytea *hash);
extern void keyconfig_check_masked(const text *masked);
extern void keyconfig_check_expires_at(TimestampTz expires_at, TimestampTz now);
extern void keyconfig_check_text(const char *what, Datum value, bool isnull, int max_chars);

#endif							/* APIKEYS_KEYCONFIG_H */
