/*-------------------------------------------------------------------------
 *
 * notices.h
 *	  The statements on apikeys_data.key_notice.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_NOTICES_H
#define APIKEYS_STORE_NOTICES_H

#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "model/notice_list.h"

extern void store_plan_notices(const pg_uuid_t *id, bool expires, bool may_be_idle);
extern void store_remove_notices(const pg_uuid_t *id);
extern int	store_give_notices(const char *setting, const NoticeList *list, int limit,
							   TimestampTz now);
extern TimestampTz store_next_notice(const char *setting);

#endif							/* APIKEYS_STORE_NOTICES_H */
