/*-------------------------------------------------------------------------
 *
 * notice_list.h
 *	  How long before the end of a key its owner is notified.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_NOTICE_LIST_H
#define APIKEYS_MODEL_NOTICE_LIST_H

#define NOTICES_MAX			8
#define NOTICES_MAX_LEN		1000	/* bytes of the list: they are indexed */
#define NOTICE_MAX_LEN		63	/* bytes, as somebody has written it */

typedef struct Notice
{
	int64		before;			/* microseconds */
	char		text[NOTICE_MAX_LEN + 1];
} Notice;

typedef struct NoticeList
{
	int			n;
	Notice		notices[NOTICES_MAX];
} NoticeList;

extern const char *notice_list_parse(const char *value, NoticeList *list);

#endif							/* APIKEYS_MODEL_NOTICE_LIST_H */
