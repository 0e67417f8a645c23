/*-------------------------------------------------------------------------
 *
 * key_config.h
 *	  The configuration of a key, validated in one place.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_KEY_CONFIG_H
#define APIKEYS_MODEL_KEY_CONFIG_H

#include "datatype/timestamp.h"
#include "utils/jsonb.h"

#define NAME_MAX_CHARS			255

/* In the order of apikey_generate's arguments, in which prefix comes after allowed_ips. */
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
	CONFIG_PLAN,
	CONFIG_IDLE_TIMEOUT,
	CONFIG_ENABLED,
	CONFIG_NMEMBERS
} ConfigMember;

typedef struct KeyConfig
{
	Datum		values[CONFIG_NMEMBERS];
	bool		nulls[CONFIG_NMEMBERS];
	bool		restarts_idleness; /* a change that has it counted from now on */
} KeyConfig;

extern const char *key_config_member_name(ConfigMember member);
extern Oid	key_config_member_type(ConfigMember member);
extern void key_config_check(KeyConfig *config, TimestampTz now);
extern void key_config_check_value(ConfigMember member, Datum *value, bool *isnull);
extern void key_config_check_stored(ConfigMember member, Datum value, bool isnull);
extern void key_config_change(KeyConfig *config, Jsonb *changes, TimestampTz now);
extern void key_config_check_hash(Datum hash);
extern text *key_config_rotated_name(const text *name);
extern bool key_config_equal(const KeyConfig *a, const KeyConfig *b);
extern void key_config_check_hash_secret(Datum name);
extern void key_config_check_masked(Datum masked);
extern void key_config_check_expires_at(TimestampTz expires_at, TimestampTz now);
extern void key_config_check_metadata(Datum metadata);
extern void key_config_check_revoke_reason(Datum reason);
extern void key_config_check_text(const char *what, Datum value, bool isnull, int max_chars);

#endif							/* APIKEYS_MODEL_KEY_CONFIG_H */
