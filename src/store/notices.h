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

#include "utils/array.h"
#include "utils/timestamp.h"

#include "model/notice_list.h"

extern void store_plan_notices(ArrayType *ids, bool expires, bool may_be_idle);
extern void store_remove_notices(ArrayType *ids);
extern int	store_give_notices(const char *setting, const NoticeList *list, int limit,
							   TimestampTz now);
extern TimestampTz store_next_notice(const char *setting);

#endif							/* APIKEYS_STORE_NOTICES_H */
