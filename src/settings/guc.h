/*-------------------------------------------------------------------------
 *
 * guc.h
 *	  Every setting of apikeys.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_SETTINGS_GUC_H
#define APIKEYS_SETTINGS_GUC_H

#include "utils/uuid.h"

#include "model/notice_list.h"

#define GUC_DEFAULT_TRACKED_KEYS	65536
#define GUC_MAX_TRACKED_KEYS		(16 * 1024 * 1024)

/* in kilobytes */
#define GUC_DEFAULT_CACHE_MEMORY	(32 * 1024)
#define GUC_MIN_CACHE_MEMORY		128
#define GUC_MAX_CACHE_MEMORY		(64 * 1024 * 1024)

#define GUC_MAX_NODE				32767

/* When the commit of recorded usage waits for the disk. */
typedef enum UsageDurability
{
	USAGE_DURABILITY_SYNC,		/* always */
	USAGE_DURABILITY_ASYNC		/* not that of a transaction that has written nothing else */
} UsageDurability;

extern char *guc_key_prefix;
extern int	guc_last_used_throttle;
extern int	guc_flush_interval;
extern int	guc_max_tracked_keys;
extern int	guc_cache_memory;
extern bool guc_cache;
extern int	guc_reservation_timeout;
extern int	guc_request_id_retention;
extern int	guc_usage_durability;
extern int	guc_max_lifetime;
extern char *guc_expiry_notice;
extern NoticeList guc_expiry_notices;
extern int	guc_max_own_keys;
extern int	guc_node;
extern bool guc_redact_log;
extern char *guc_request_header;
extern char *guc_notify_channel;
extern char *guc_hmac_secret_file;

/* The value of apikeys.restrict_to_user. */
typedef struct RestrictedUser
{
	bool		valid;			/* else it is no UUID */
	pg_uuid_t	id;
} RestrictedUser;

extern const RestrictedUser *guc_restricted_user;

extern void guc_init(void);

#endif							/* APIKEYS_SETTINGS_GUC_H */
