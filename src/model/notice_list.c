/*-------------------------------------------------------------------------
 *
 * notice_list.c
 *	  How long before the end of a key its owner is notified.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * The list is a setting, so whatever it is must not raise an error: the
 * postmaster reads it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "datatype/timestamp.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "model/notice_list.h"
#include "model/period.h"

/* Reads an interval as the type does; false for what is none. */
static bool
parse_interval(const char *text, Interval *interval)
{
	char		buffer[256];
	char	   *fields[MAXDATEFIELDS];
	int			types[MAXDATEFIELDS];
	int			nfields;
	int			type;
	struct pg_itm_in itm = {0};

	return ParseDateTime(text, buffer, sizeof(buffer), fields, types,
						 MAXDATEFIELDS, &nfields) == 0 &&
		   DecodeInterval(fields, types, nfields, INTERVAL_FULL_RANGE, &type, &itm) == 0 &&
		   type == DTK_DELTA &&
		   itmin2interval(&itm, interval) == 0;
}

/* Adds an element of len bytes; returns what is wrong with it, or NULL. */
static const char *
add_notice(NoticeList *list, const char *element, Size len)
{
	Notice	   *notice = &list->notices[list->n];
	Interval	interval;

	if (list->n == NOTICES_MAX)
		return "It may have 8 elements.";
	if (len > NOTICE_MAX_LEN)
		return "An element may have 63 bytes.";

	memcpy(notice->text, element, len);
	notice->text[len] = '\0';
	if (!parse_interval(notice->text, &interval) || !period_is_length(&interval))
		return "Each element must be an interval between 1 second and 1000 years.";

	notice->before = ((int64) interval.month * DAYS_PER_MONTH + interval.day) * USECS_PER_DAY + interval.time;
	for (int i = 0; i < list->n; i++)
	{
		if (list->notices[i].before == notice->before)
			return "It must not have an element twice.";
	}
	list->n++;
	return NULL;
}

/*
 * Parses a list of intervals that are separated by commas, in which a month has
 * 30 days.  Returns what is wrong with it, or NULL.  An empty list is none.
 */
const char *
notice_list_parse(const char *value, NoticeList *list)
{
	const char *fault = NULL;

	StaticAssertStmt(NOTICES_MAX == 8 && NOTICE_MAX_LEN == 63 &&
						 NOTICES_MAX_LEN == 1000 && PERIOD_MAX_YEARS == 1000,
					 "the messages above say so");

	memset(list, 0, sizeof(NoticeList));
	if (strlen(value) > NOTICES_MAX_LEN)
		return "It may have 1000 bytes.";
	if (value[strspn(value, " \t\n")] == '\0')
		return NULL;

	for (const char *start = value; fault == NULL; start++)
	{
		const char *end;
		const char *next;

		start += strspn(start, " \t\n");
		next = start + strcspn(start, ",");
		for (end = next; end > start && isspace((unsigned char) end[-1]); end--)
			/* trim */;
		fault = add_notice(list, start, end - start);
		if (*next == '\0')
			break;
		start = next;
	}

	return fault;
}
